//! Reads the columns of a row, whatever type a server sends them as.

use mysql::Value;

use crate::store::Failure;

/// The name of a column with a bad value.
pub(super) type Bad = &'static str;

/// Reads every row, or fails at the first row with a bad value.
pub(super) fn all<T>(rows: &[Vec<Value>], read: impl Fn(&[Value]) -> Result<T, Bad>) -> Result<Vec<T>, Failure> {
    let rows: Result<Vec<T>, Bad> = rows.iter().map(|row| read(row)).collect();
    rows.map_err(|bad| Failure::Malformed(format!("{bad} is not what it should be")))
}

/// A number, whatever type the server sends.
pub(super) fn number<T: TryFrom<i128>>(row: &[Value], n: usize) -> Option<T> {
    let number = match row.get(n)? {
        Value::Int(number) => i128::from(*number),
        Value::UInt(number) => i128::from(*number),
        Value::Bytes(text) => return parsed(text),
        _ => return None,
    };
    T::try_from(number).ok()
}

pub(super) fn parsed<T: TryFrom<i128>>(text: &[u8]) -> Option<T> {
    let number: i128 = std::str::from_utf8(text).ok()?.trim().parse().ok()?;
    T::try_from(number).ok()
}

/// A number or NULL. `None`: the value is neither.
pub(super) fn optional<T: TryFrom<i128>>(row: &[Value], n: usize) -> Option<Option<T>> {
    match row.get(n)? {
        Value::NULL => Some(None),
        _ => number(row, n).map(Some),
    }
}

pub(super) fn bytes(row: &[Value], n: usize) -> Option<&[u8]> {
    match row.get(n)? {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// A text. `None`: the value is NULL, of another type, or not UTF-8.
pub(super) fn text(row: &[Value], n: usize) -> Option<String> {
    String::from_utf8(bytes(row, n)?.to_vec()).ok()
}

/// Unix seconds of a time in UTC as the server writes it. A plain number is Unix seconds already. `Some(None)`: NULL,
/// or the zero date that means "never" in Joomla 3. A year before 1000 is not a date either.
pub(super) fn seconds(row: &[Value], n: usize) -> Option<Option<i64>> {
    if matches!(row.get(n)?, Value::NULL) {
        return Some(None);
    }
    if let Some(seconds) = number::<i64>(row, n) {
        return Some((seconds != 0).then_some(seconds));
    }
    let text = text(row, n)?;
    if text.starts_with("0000") || text.is_empty() {
        return Some(None);
    }
    let time = match text.parse::<jiff::civil::DateTime>() {
        Ok(time) => time,
        Err(_) => text
            .parse::<jiff::civil::Date>()
            .ok()?
            .to_datetime(jiff::civil::Time::midnight()),
    };
    if time.year() < 1000 {
        return Some(None);
    }
    // The last day of the year 9999 is beyond the range of a timestamp, and some extensions write it for "never".
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC);
    let timestamp = zoned.map_or(jiff::Timestamp::MAX, |zoned| zoned.timestamp());
    Some(Some(timestamp.as_second()))
}

/// The version in a `manifest_cache`.
pub(super) fn manifest_version(manifest: &str) -> Option<String> {
    let manifest: serde_json::Value = serde_json::from_str(manifest).ok()?;
    Some(manifest.get("version")?.as_str()?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(value: Value) -> Option<Option<i64>> {
        seconds(&[value], 0)
    }

    #[test]
    fn times_are_read_in_the_form_of_every_joomla_version() {
        assert_eq!(time(Value::NULL), Some(None));
        assert_eq!(time("0000-00-00 00:00:00".into()), Some(None));
        assert_eq!(time("0000-00-00".into()), Some(None));
        assert_eq!(time("".into()), Some(None));
        assert_eq!(time("1970-01-01 00:00:01".into()), Some(Some(1)));
        assert_eq!(time("2026-11-20 20:07:04".into()), Some(Some(1_795_205_224)));
        assert_eq!(time("2026-11-20 20:07:04.500".into()), Some(Some(1_795_205_224)));
        assert_eq!(time("2099-12-31 23:59:59".into()), Some(Some(4_102_444_799)));
        assert_eq!(
            time("9999-12-31 23:59:59".into()).map(|time| time.is_some()),
            Some(true)
        );
        assert_eq!(time("2026-11-20".into()), Some(Some(1_795_132_800)));
        assert_eq!(time("1795205224".into()), Some(Some(1_795_205_224)));
        assert_eq!(time(Value::Int(0)), Some(None));
        assert_eq!(
            time("2026-00-00 00:00:00".into()),
            None,
            "an invalid date hides the item"
        );
        assert_eq!(time("tomorrow".into()), None);
    }
}
