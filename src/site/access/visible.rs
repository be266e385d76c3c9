//! Whether Joomla would show an item or a category to a visitor with given view levels: com_content's
//! `ArticleModel::getItem`, and `Categories::_load` with `CategoryView` (4.4 to 6.1). Where these two are less strict
//! than Joomla 3 or than each other, the stricter rule holds. For an article Joomla checks the category, and Joomla 3
//! also checks whether the categories above are published. For a category Joomla checks whether all categories above
//! are published; a menu or a module also checks whether they may be seen.
//!
//! Languages are no access rule: Joomla shows an article in another language to every visitor who requests that
//! language.

use super::subject::Subject;
use crate::store::{CLOCK_TOLERANCE, CategoryRow, CategoryStep, ItemRow};
use crate::time::Now;

/// A visitor, as the site's rules see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visitor<'a> {
    /// The user's id; 0: a guest.
    pub user: u32,
    /// All groups, those above included.
    pub groups: &'a [u32],
    /// All view levels: those of [`Acl::levels`](crate::joomla::acl::Acl::levels), and all levels for `root`.
    pub levels: &'a [u32],
    /// Whether the user is `$root_user` of configuration.php.
    pub root: bool,
}

/// A fact from the database.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fact {
    /// `None`: there is no such item.
    Item(Option<ItemRow>),
    /// `None`: there is no such category.
    Category(Option<CategoryRow>),
    /// The database refused the question, or the answer was malformed.
    Unknowable,
}

impl Fact {
    pub(super) fn is_unknowable(&self) -> bool {
        *self == Fact::Unknowable
    }
}

/// The states that have a page: published and archived.
const SHOWN: [i8; 2] = [1, 2];

/// Moves the dates of a row to our own clock, if that and the database's clock differ. The item begins when both clocks
/// have reached its start, and ends when one of them has reached its end. Dates move by whole multiples of the
/// tolerance; otherwise the row would differ at each reading.
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

/// Whether the visitor may see the subject now.
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

/// Whether the chain of an item's categories is shown. An empty chain means that the category does not exist; then
/// Joomla's INNER JOIN finds nothing.
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

/// The next second at which a date of the item changes whether it is shown.
pub(super) fn next_date(fact: &Fact, unix: i64) -> Option<i64> {
    let Fact::Item(Some(row)) = fact else {
        return None;
    };
    // The item is still shown in the second of its end.
    let end = row.publish_down.map(|down| down.saturating_add(1));
    [row.publish_up, end]
        .into_iter()
        .flatten()
        .filter(|turn| *turn > unix)
        .min()
}
