//! Which kind of answer a request prefers: its `Accept` header (RFC 9110 section 12.5.1).

use http::{HeaderMap, header};

/// The weight of the media ranges that are meant, from 0 to 1; 0: the request names none of them. `is_meant` gets the
/// range in lower case and its parameter `version`. Ranges with a `*` are for `is_meant` like any other.
pub(super) fn weight(headers: &HeaderMap, is_meant: impl Fn(&str, Option<&str>) -> bool) -> f32 {
    let lines = headers.get_all(header::ACCEPT).iter();
    let ranges = lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','));
    let weights = ranges.filter_map(|range| {
        let (name, parameters) = range.split_once(';').unwrap_or((range, ""));
        let find = |name: &str| {
            let mut pairs = parameters.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
                .map(|(_, value)| value)
        };
        is_meant(&name.trim().to_ascii_lowercase(), find("version"))
            .then(|| find("q").map_or(1.0, |q| q.trim().parse().unwrap_or(0.0)))
    });
    weights.fold(0.0, f32::max)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_counts_when_it_is_named_and_not_excluded() {
        let html = |lines: &[&str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(header::ACCEPT, line.parse().unwrap());
            }
            weight(&headers, |name, _| name == "text/html")
        };
        // A browser, and then health checks: curl, kube-probe, wget and what asks for other types.
        let browser = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";
        for (lines, expected) in [
            (&[browser][..], 1.0),
            (&["application/json", "Text/HTML ; q=0.5"], 0.5),
            (&["text/html;q=0.2, text/html;level=1"], 1.0),
            (&[], 0.0),
            (&["*/*"], 0.0),
            (&["text/*"], 0.0),
            (&["text/plain, */*"], 0.0),
            (&["text/html;q=0"], 0.0),
            (&["text/html;q=x"], 0.0),
            (&["text/html5"], 0.0),
            (&[""], 0.0),
        ] {
            assert_eq!(html(lines), expected, "{lines:?}");
        }
    }
}
