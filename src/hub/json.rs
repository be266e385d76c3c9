//! A limit on the nesting of JSON from clients.

/// How deep the JSON of a frame may be nested.
const MAX_DEPTH: usize = 64;

/// Whether JSON is nested deeper than 64 levels. This is one pass; it runs before a recursive parser reads the JSON.
pub fn is_too_deep(json: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}
