//! The page as one HTTP answer. The files under `src/page/` are embedded in the binary. At the server's start they are
//! joined into one self-contained document. Its Content-Security-Policy allows exactly the document's inline blocks.
//! Other files decide who may see the page, and on which path.

use bytes::Bytes;
use data_encoding::{BASE64, HEXLOWER};
use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::config::{self, Config};

const DOCUMENT: &str = include_str!("../page/index.html");

/// The styles, and the places in the document that refer to them. The references also let the page be edited without a
/// build.
const STYLES: [(&str, &str); 3] = [
    (
        r#"<link rel="stylesheet" href="page.css">"#,
        include_str!("../page/page.css"),
    ),
    (
        r#"<link rel="stylesheet" href="channels.css">"#,
        include_str!("../page/channels.css"),
    ),
    (
        r#"<link rel="stylesheet" href="loop.css">"#,
        include_str!("../page/loop.css"),
    ),
];

/// The scripts in the order in which they run, and the places in the document that refer to them.
const SCRIPTS: [(&str, &str); 11] = [
    (
        r#"<script src="shared.js"></script>"#,
        include_str!("../page/shared.js"),
    ),
    (r#"<script src="units.js"></script>"#, include_str!("../page/units.js")),
    (
        r#"<script src="replies.js"></script>"#,
        include_str!("../page/replies.js"),
    ),
    (r#"<script src="line.js"></script>"#, include_str!("../page/line.js")),
    (
        r#"<script src="console.js"></script>"#,
        include_str!("../page/console.js"),
    ),
    (
        r#"<script src="pusher.js"></script>"#,
        include_str!("../page/pusher.js"),
    ),
    (
        r#"<script src="channels.js"></script>"#,
        include_str!("../page/channels.js"),
    ),
    (
        r#"<script src="report.js"></script>"#,
        include_str!("../page/report.js"),
    ),
    (
        r#"<script src="timeline.js"></script>"#,
        include_str!("../page/timeline.js"),
    ),
    (r#"<script src="loop.js"></script>"#, include_str!("../page/loop.js")),
    (r#"<script src="tabs.js"></script>"#, include_str!("../page/tabs.js")),
];

/// The place in the document for the facts that the scripts need.
const KNOWN: &str = r#"<meta name="jsocketd" content="{&quot;path&quot;:&quot;&quot;}">"#;

/// The facts about the server that the scripts need.
#[derive(Serialize)]
struct Known<'a> {
    /// The path before `/app/` and `/apps/`.
    path: &'a str,
    /// The key of the first enabled app. A key is public: the pages of the site contain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    /// The app of the embedded defaults. Its secret is public; no other app may stand here.
    #[serde(skip_serializing_if = "Option::is_none")]
    app: Option<Development<'a>>,
}

#[derive(Serialize)]
struct Development<'a> {
    id: &'a str,
    secret: &'a str,
}

/// The assembled page. Made once; each answer shares its bytes.
#[derive(Clone, Debug)]
pub struct Page {
    /// The facts in the document, as JSON.
    known: String,
    document: Bytes,
    etag: HeaderValue,
    policy: HeaderValue,
}

impl Page {
    /// The page for a configuration. `apps` are the settings in force: an app may have its key from the site.
    pub fn new<'a>(config: &Config, apps: impl Iterator<Item = &'a config::App>) -> Self {
        Self::with(known(config, apps))
    }

    /// Makes the page anew if the configuration or an app's key changed.
    pub fn refresh<'a>(&mut self, config: &Config, apps: impl Iterator<Item = &'a config::App>) {
        let known = known(config, apps);
        if known != self.known {
            *self = Self::with(known);
        }
    }

    /// Joins the embedded files and computes the hashes of the inline blocks.
    fn with(known: String) -> Self {
        let mut document = DOCUMENT.replacen(KNOWN, &KNOWN.replace(EMPTY, &attribute(&known)), 1);
        let styles = embed(&mut document, &STYLES, "style");
        let scripts = embed(&mut document, &SCRIPTS, "script");
        let policy = format!(
            "default-src 'none'; script-src {scripts}; style-src {styles}; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let fingerprint = HEXLOWER.encode(&Sha256::digest(document.as_bytes())[..16]);
        Self {
            known,
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
        // Requests that do not accept a page get a line at the same address.
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
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

/// The facts about the server that the scripts need, as JSON.
fn known<'a>(config: &Config, mut apps: impl Iterator<Item = &'a config::App>) -> String {
    let development = config.apps.first().filter(|_| config.embedded_defaults);
    let known = Known {
        path: &config.pusher.path,
        key: apps
            .find(|app| app.enabled && !app.key.is_empty())
            .map(|app| app.key.as_str()),
        app: development.map(|app| Development {
            id: &app.id,
            secret: &app.secret,
        }),
    };
    serde_json::to_string(&known).expect("strings always serialize")
}

/// Puts files in place of their references, each in an element of its own. Returns their source expressions.
fn embed(document: &mut String, files: &[(&str, &str)], element: &str) -> String {
    let mut hashes = Vec::with_capacity(files.len());
    for (reference, file) in files {
        let file = unix_lines(file);
        *document = document.replacen(reference, &format!("<{element}>{file}</{element}>"), 1);
        hashes.push(format!("'{}'", source_hash(&file)));
    }
    hashes.join(" ")
}

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
        Page::with("{}".to_owned())
    }

    /// The texts of all elements with this name, as a browser would find them.
    fn blocks<'a>(document: &'a str, element: &str) -> Vec<&'a str> {
        let (open, close) = (format!("<{element}>"), format!("</{element}>"));
        let rest = document.split(open.as_str()).skip(1);
        rest.map(|rest| rest.split(close.as_str()).next().unwrap()).collect()
    }

    #[test]
    fn the_policy_allows_exactly_the_inline_blocks() {
        let response = page().response(&HeaderMap::new());
        let document = text(&response);
        let hashes = |element: &str, files: &[(&str, &str)]| {
            let blocks = blocks(&document, element);
            let whole: Vec<String> = files.iter().map(|(_, file)| unix_lines(file)).collect();
            assert_eq!(blocks, whole, "a {element} is missing or ends early");
            assert_eq!(document.matches(&format!("<{element}")).count(), files.len());
            let hashes: Vec<String> = blocks.iter().map(|block| format!("'{}'", source_hash(block))).collect();
            hashes.join(" ")
        };
        assert_eq!(
            response.headers()[header::CONTENT_SECURITY_POLICY],
            format!(
                "default-src 'none'; script-src {}; style-src {}; connect-src 'self'; img-src data:; \
                 base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
                hashes("script", &SCRIPTS),
                hashes("style", &STYLES),
            )
        );
    }

    #[test]
    fn the_document_contains_the_path_and_keys_and_only_the_development_secret() {
        let known = |page: &Page| {
            let document = text(&page.response(&HeaderMap::new()));
            let value = block(&document, "<meta name=\"jsocketd\" content=\"", "\">");
            value.replace("&quot;", "\"").replace("&lt;", "<").replace("&amp;", "&")
        };
        let mut config = Config {
            embedded_defaults: true,
            apps: vec![config::App::new("i<d", "k&quot;", "s\"")],
            ..Config::default()
        };
        let development = Page::new(&config, config.apps.iter());
        assert_eq!(
            known(&development),
            r#"{"path":"","key":"k&quot;","app":{"id":"i<d","secret":"s\""}}"#
        );
        config.embedded_defaults = false;
        config.pusher.path = "/live".to_owned();
        let mut page = Page::new(&config, config.apps.iter());
        assert_eq!(known(&page), r#"{"path":"/live","key":"k&quot;"}"#);
        assert_ne!(page.etag, development.etag, "a browser must not keep the other one");
        let mut other = config::App::new("other", "other-key", "other-secret");
        let document = page.document.as_ptr();
        page.refresh(&config, config.apps.iter().chain([&other]));
        assert_eq!(page.document.as_ptr(), document, "nothing changed");
        config.apps[0].enabled = false;
        page.refresh(&config, config.apps.iter().chain([&other]));
        assert_eq!(known(&page), r#"{"path":"/live","key":"other-key"}"#);
        other.key.clear();
        page.refresh(&config, config.apps.iter().chain([&other]));
        assert_eq!(known(&page), r#"{"path":"/live"}"#);
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
        for reference in [
            "page.css",
            "channels.css",
            "loop.css",
            "src=\"",
            "http-equiv",
            " style=\"",
            " onclick",
            "innerHTML",
        ] {
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
