//! Commands as the engine reads them: arrays of strings, which the library encodes.

use redis_protocol::resp2::encode::encode_borrowed;
use redis_protocol::resp2::types::BorrowedFrame;

use super::outline::RECORDS;
use crate::protocol::engine::Command;

/// The name of an entry's only field.
pub(super) const FIELD: &[u8] = b"b";

/// Appends a command to the bytes that are to be sent.
pub(super) fn write(words: &[&[u8]], out: &mut Vec<u8>) {
    let words: Vec<BorrowedFrame<'_>> = words.iter().map(|word| BorrowedFrame::BulkString(word)).collect();
    let command = BorrowedFrame::Array(&words);
    let from = out.len();
    out.resize(from + command.encode_len(false), 0);
    let written = encode_borrowed(&mut out[from..], &command, false);
    debug_assert!(
        written.is_ok_and(|end| end == out.len() - from),
        "the room is what the library asked for"
    );
}

/// Appends a command about the log in `key`.
pub(super) fn write_command(command: &Command, key: &str, out: &mut Vec<u8>) {
    let key = key.as_bytes();
    match command {
        Command::Append { epoch, bytes } => {
            let id = format!("{epoch}-*");
            write(&[b"XADD", key, b"NOMKSTREAM", id.as_bytes(), FIELD, bytes], out);
        }
        Command::Begin { epoch, bytes } => {
            let id = format!("{epoch}-1");
            write(&[b"XADD", key, id.as_bytes(), FIELD, bytes], out);
        }
        Command::Read { after, wait_ms } => {
            let (count, wait, after) = (RECORDS.to_string(), wait_ms.to_string(), after.to_string());
            let (count, wait, after) = (count.as_bytes(), wait.as_bytes(), after.as_bytes());
            match wait_ms {
                // To the engine a wait of 0 is one without an end.
                0 => write(&[b"XREAD", b"COUNT", count, b"STREAMS", key, after], out),
                _ => write(
                    &[b"XREAD", b"COUNT", count, b"BLOCK", wait, b"STREAMS", key, after],
                    out,
                ),
            }
        }
        Command::Last => write(&[b"XREVRANGE", key, b"+", b"-", b"COUNT", b"1"], out),
        Command::Trim { before } => {
            let before = before.to_string();
            write(&[b"XTRIM", key, b"MINID", before.as_bytes()], out);
        }
        Command::Expire { ms } => write(&[b"PEXPIRE", key, ms.to_string().as_bytes()], out),
    }
}
