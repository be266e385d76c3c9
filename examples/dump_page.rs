//! local only
fn main() {
    let r = jsocketd::app::page::Page::new().response(&http::HeaderMap::new());
    let h: std::collections::BTreeMap<_, _> = r
        .headers()
        .iter()
        .map(|(k, v)| (k.as_str(), v.to_str().unwrap()))
        .collect();
    println!(
        "{}",
        serde_json::json!({"headers": h, "body": std::str::from_utf8(r.body()).unwrap()})
    );
}
