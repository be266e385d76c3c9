//! What Joomla would show of an item or a category to a visitor with these view levels: com_content's
//! `ArticleModel::getItem`, and `Categories::_load` with `CategoryView` (4.4 to 6.1). Where the two are less strict
//! than Joomla 3 or than each other, the stricter one holds: for an article Joomla asks the category, and Joomla 3 also
//! whether those above are published; for a category it asks whether all above are published, and a menu or a module
//! also whether they may be seen.
//!
//! Languages are not access: an article in another language is shown to whoever asks for it in that language.

use super::subject::Subject;
use crate::store::{CLOCK_TOLERANCE, CategoryRow, CategoryStep, ItemRow};
use crate::time::Now;

/// A visitor, as far as the site's rules are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor<'a> {
    /// 0: a guest.
    pub user: u32,
    /// All groups, those above included.
    pub groups: &'a [u32],
    /// All view levels: [`Acl::levels`](crate::joomla::acl::Acl::levels) gives them, and everything that `root` has.
    pub levels: &'a [u32],
    /// Whether it is configuration.php's `$root_user`.
    pub root: bool,
}

/// What the database said.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// `None`: there is no such item.
    Item(Option<ItemRow>),
    /// `None`: there is no such category.
    Category(Option<CategoryRow>),
    /// It refused the question, or its answer made no sense.
    Unknowable,
}

impl Fact {
    pub(super) fn is_unknowable(&self) -> bool {
        *self == Fact::Unknowable
    }
}

/// Published and archived: what has a page.
const SHOWN: [i8; 2] = [1, 2];

/// A row with its dates moved to our own clock, if that and the database's clock differ: the item begins when both
/// clocks say so, and ends when one of them does. Dates move by whole multiples of the tolerance, or the row would
/// differ at each reading.
pub(super) fn by_our_clock(row: ItemRow, now: Now) -> ItemRow {
    let shift = |seconds: i64| match seconds > CLOCK_TOLERANCE {
        true => (seconds / CLOCK_TOLERANCE)
            .saturating_add(1)
            .saturating_mul(CLOCK_TOLERANCE),
        false => 0,
    };
    let ahead = row.clock.saturating_sub(now.unix());
    ItemRow {
        publish_up: row
            .publish_up
            .map(|up| up.saturating_add(shift(ahead.saturating_neg()))),
        publish_down: row.publish_down.map(|down| down.saturating_sub(shift(ahead))),
        clock: 0,
        ..row
    }
}

/// Whether the visitor may see it now.
pub(super) fn is_visible(fact: &Fact, subject: &Subject, visitor: &Visitor<'_>, unix: i64) -> bool {
    match (fact, subject) {
        (Fact::Item(Some(row)), Subject::Item { .. }) => item(row, visitor, unix),
        (Fact::Category(Some(row)), Subject::Category { extension, .. }) => category(row, extension, visitor),
        _ => false,
    }
}

fn item(row: &ItemRow, visitor: &Visitor<'_>, unix: i64) -> bool {
    let begun = row.publish_up.is_none_or(|up| up <= unix);
    let ended = row.publish_down.is_some_and(|down| down < unix);
    let filed = row
        .categories
        .as_deref()
        .is_none_or(|chain| is_shown_in(chain, visitor));
    SHOWN.contains(&row.state) && begun && !ended && visitor.levels.contains(&row.access) && filed
}

/// The chain of an item's category; without one there is no such category, and Joomla's INNER JOIN finds nothing.
fn is_shown_in(chain: &[CategoryStep], visitor: &Visitor<'_>) -> bool {
    chain.split_last().is_some_and(|(own, above)| {
        let published = SHOWN.contains(&own.published) && above.iter().all(|step| step.published > 0);
        published && visitor.levels.contains(&own.access)
    })
}

fn category(row: &CategoryRow, extension: &str, visitor: &Visitor<'_>) -> bool {
    let shown = |step: &CategoryStep| step.published == 1 && visitor.levels.contains(&step.access);
    row.extension == extension && !row.chain.is_empty() && row.chain.iter().all(shown)
}

/// The next second at which one of its dates changes what is shown.
pub(super) fn next_date(fact: &Fact, unix: i64) -> Option<i64> {
    let Fact::Item(Some(row)) = fact else {
        return None;
    };
    // It is still shown in the second in which it ends.
    let end = row.publish_down.map(|down| down.saturating_add(1));
    [row.publish_up, end]
        .into_iter()
        .flatten()
        .filter(|turn| *turn > unix)
        .min()
}
