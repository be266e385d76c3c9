//! The page as one HTTP answer. The files under `src/page/` are embedded in the binary. At the server's start they are
//! joined into one self-contained document. Its Content-Security-Policy allows exactly the document's inline blocks.
//! Other files decide who may see the page, and on which path.

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config;

const DOCUMENT: &str = include_str!("../page/index.html");

/// The style, and the place in the document that refers to it. The reference also lets the page be edited without a
/// build.
const STYLE: (&str, &str) = (
    r#"<link rel="stylesheet" href="page.css">"#,
    include_str!("../page/page.css"),
);

/// The scripts in the order in which they run, and the places in the document that refer to them.
const SCRIPTS: [(&str, &str); 4] = [
    (
        r#"<script src="shared.js"></script>"#,
        include_str!("../page/shared.js"),
    ),
    (
        r#"<script src="console.js"></script>"#,
        include_str!("../page/console.js"),
    ),
    (
        r#"<script src="channels.js"></script>"#,
        include_str!("../page/channels.js"),
    ),
    (r#"<script src="tabs.js"></script>"#, include_str!("../page/tabs.js")),
];

/// The place in the document for the facts that the scripts need.
const KNOWN: &str = r#"<meta name="jsocketd" content="{&quot;path&quot;:&quot;&quot;}">"#;

/// The facts about the server that the scripts need.
#[derive(Serialize)]
struct Known<'a> {
    /// The path before `/app/` and `/apps/`.
    path: &'a str,
    /// The app of the embedded defaults. Its secret is public; no other app may stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Development<'a>>,
}

#[derive(Serialize)]
struct Development<'a> {
    id: &'a str,
    key: &'a str,
    secret: &'a str,
}

/// The assembled page. Made once; each answer shares its bytes.
#[derive(Clone, Debug)]
pub struct Page {
    document: Bytes,
    etag: HeaderValue,
    policy: HeaderValue,
}

impl Page {
    /// Joins the embedded files and computes the hashes of the inline blocks. `path` stands before `/app/` and
    /// `/apps/`. `development` is the app of the embedded defaults. Its secret becomes part of the document, so never
    /// pass another app.
    pub fn new(development: Option<&config::App>, path: &str) -> Self {
        let style = unix_lines(STYLE.1);
        let mut document = DOCUMENT.replacen(STYLE.0, &format!("<style>{style}</style>"), 1);
        let mut hashes = Vec::with_capacity(SCRIPTS.len());
        for (reference, script) in SCRIPTS {
            let script = unix_lines(script);
            document = document.replacen(reference, &format!("<script>{script}</script>"), 1);
            hashes.push(format!("'{}'", source_hash(&script)));
        }
        let known = Known {
            path,
            app: development.map(|app| Development {
                id: &app.id,
                key: &app.key,
                secret: &app.secret,
            }),
        };
        let known = serde_json::to_string(&known).expect("strings always serialize");
        document = document.replacen(KNOWN, &KNOWN.replace(EMPTY, &attribute(&known)), 1);
        let policy = format!(
            "default-src 'none'; script-src {}; style-src '{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hashes.join(" "),
            source_hash(&style),
        );
        let fingerprint = HEXLOWER.encode(&Sha256::digest(document.as_bytes())[..16]);
        Self {
            document: Bytes::from(document),
            etag: visible_ascii(&format!("\"{fingerprint}\"")),
            policy: visible_ascii(&policy),
        }
    }

    /// The answer to `GET /` (and, without its body, to `HEAD /`): 200 with the document, or 304 when the request's
    /// `If-None-Match` names this version (RFC 9110 section 13.1.2). `Content-Length` is left to the HTTP layer.
    pub fn response(&self, request: &HeaderMap) -> Response<Bytes> {
        let is_known = request
            .get_all(header::IF_NONE_MATCH)
            .iter()
            .any(|list| names(list.as_bytes(), self.etag.as_bytes()));
        let mut response = Response::new(if is_known { Bytes::new() } else { self.document.clone() });
        let headers = response.headers_mut();
        headers.insert(header::ETAG, self.etag.clone());
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        if is_known {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            headers.insert(
                header::CONTENT_TYPE,
                HeaderValue::from_static("text/html; charset=utf-8"),
            );
        }
        response
    }
}

/// The value of [`KNOWN`] in the source file.
const EMPTY: &str = "{&quot;path&quot;:&quot;&quot;}";

/// Browsers hash a block with LF line ends, and a checkout may have CRLF.
fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n")
}

/// Text as the value of an attribute in double quotes.
fn attribute(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

/// Whether a list of entity tags contains `etag`, by weak comparison: a proxy that compresses changes `"x"` into
/// `W/"x"`. Our tags are hexadecimal, so a comma never stands inside a tag.
fn names(list: &[u8], etag: &[u8]) -> bool {
    list.split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii)
        .any(|tag| tag == b"*" || tag.strip_prefix(b"W/").unwrap_or(tag) == etag)
}

/// The source expression of an inline block (CSP Level 3, section 2.3.1).
fn source_hash(block: &str) -> String {
    format!("sha256-{}", BASE64.encode(&Sha256::digest(block.as_bytes())))
}

fn visible_ascii(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("a header made of constants, base64 and hexadecimal digits is visible ASCII")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn text(response: &Response<Bytes>) -> String {
        String::from_utf8(response.body().to_vec()).unwrap()
    }

    /// The text between the only start tag with this beginning and the next end tag, as a browser would find it.
    fn block<'a>(document: &'a str, open: &str, close: &str) -> &'a str {
        assert_eq!(document.matches(open).count(), 1, "{open}");
        let start = document.find(open).unwrap() + open.len();
        &document[start..start + document[start..].find(close).unwrap()]
    }

    fn page() -> Page {
        Page::new(None, "")
    }

    #[test]
    fn the_policy_allows_exactly_the_inline_blocks() {
        let response = page().response(&HeaderMap::new());
        let document = text(&response);
        let style = block(&document, "<style>", "</style>");
        assert_eq!(style, unix_lines(STYLE.1), "the style ends early");
        let scripts: Vec<&str> = document
            .split("<script>")
            .skip(1)
            .map(|rest| rest.split("</script>").next().unwrap())
            .collect();
        let whole: Vec<String> = SCRIPTS.iter().map(|(_, script)| unix_lines(script)).collect();
        assert_eq!(scripts, whole, "a script is missing or ends early");
        assert_eq!(document.matches("<script").count(), SCRIPTS.len());
        let hashes: Vec<String> = scripts
            .iter()
            .map(|script| format!("'{}'", source_hash(script)))
            .collect();
        assert_eq!(
            response.headers()[header::CONTENT_SECURITY_POLICY],
            format!(
                "default-src 'none'; script-src {}; style-src '{}'; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                hashes.join(" "),
                source_hash(style),
            )
        );
    }

    #[test]
    fn the_document_contains_the_path_and_only_the_development_app() {
        let known = |page: Page| {
            let document = text(&page.response(&HeaderMap::new()));
            let value = block(&document, "<meta name=\"jsocketd\" content=\"", "\">");
            value.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&")
        };
        assert_eq!(known(Page::new(None, "/live")), r#"{"path":"/live"}"#);
        let app = config::App::new("i<d", "k&quot;", "s\"");
        assert_eq!(
            known(Page::new(Some(&app), "")),
            r#"{"path":"","app":{"id":"i<d","key":"k&quot;","secret":"s\""}}"#
        );
        let (one, other) = (Page::new(Some(&app), ""), page());
        assert_ne!(one.etag, other.etag, "a browser must not keep the other one");
        assert!(!text(&other.response(&HeaderMap::new())).contains("&quot;app&quot;"));
    }

    #[test]
    fn a_source_hash_is_the_base64_of_the_sha256() {
        // Computed with `printf %s "alert('Hello, world.');" | openssl dgst -sha256 -binary | base64`.
        assert_eq!(
            source_hash("alert('Hello, world.');"),
            "sha256-qznLcsROx4GACP2dm0UCKCzCG+HiZ1guq6ZZDob/Tng="
        );
    }

    #[test]
    fn the_document_refers_to_no_other_resource() {
        let document = text(&page().response(&HeaderMap::new()));
        for reference in ["page.css", "src=\"", "http-equiv", " style=\"", " onclick", "innerHTML"] {
            assert!(!document.contains(reference), "the page refers to {reference}");
        }
        let outside = document
            .match_indices("href=\"")
            .find(|(at, _)| !document[at + 6..].starts_with("data:"));
        assert_eq!(outside, None);
    }

    #[test]
    fn answers_share_one_document() {
        let page = page();
        let (first, second) = (page.response(&HeaderMap::new()), page.response(&HeaderMap::new()));
        assert_eq!(first.body().as_ptr(), second.body().as_ptr());
        assert_eq!(first.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(first.headers()[header::REFERRER_POLICY], "no-referrer");
        assert_eq!(first.headers()[header::CACHE_CONTROL], "no-cache");
        assert_eq!(first.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
    }

    #[test]
    fn a_known_version_is_not_sent_again() {
        let page = page();
        let etag = page.response(&HeaderMap::new()).headers()[header::ETAG].clone();
        let etag = etag.to_str().unwrap();
        let asked = |value: &str| {
            let mut request = HeaderMap::new();
            request.insert(header::IF_NONE_MATCH, HeaderValue::from_str(value).unwrap());
            page.response(&request)
        };
        for value in [etag, &format!("W/{etag}"), &format!("\"other\", {etag}"), "*"] {
            let response = asked(value);
            assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{value}");
            assert!(response.body().is_empty());
            assert_eq!(response.headers()[header::ETAG], etag);
        }
        for value in ["\"other\"", "", &etag[1..]] {
            assert_eq!(asked(value).status(), StatusCode::OK, "{value}");
        }
    }
}
