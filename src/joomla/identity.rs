//! stub
use crate::store::*;
use super::site::{Client, Site};
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason { NoCookie, BadCookie, ForeignOrigin, NoRow, Expired, GuestSession, NoUser, Blocked, NoFormToken, WrongFormToken, RightsChanged }
impl Reason { pub fn code(self) -> &'static str { "" } }
pub enum Judgement { User(UserRow), AskUser(u32), Guest(Reason) }
pub fn judge(_r: &SessionRow, _c: Client, _s: &Site, _j: bool, _n: i64) -> Judgement { Judgement::Guest(Reason::NoRow) }
pub fn judge_user(_r: Option<&UserRow>) -> Judgement { Judgement::Guest(Reason::NoRow) }
