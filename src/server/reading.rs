//! One read of one connection: the bytes that came are decrypted, decoded and handled.

use bytes::Bytes;

use crate::flight::Kind;
use crate::id::ConnectionId;
use crate::net::io::Io;

use super::accept;
use super::act::Dispatcher;

/// Reads one connection once and handles at most `messages` messages of it. Returns false if it must wait for a later
/// tick: its TLS handshake, or because too much waits for the engine of the cluster.
pub(super) fn read_one<I: Io>(
    dispatcher: &mut Dispatcher<I>,
    buffer: &mut [u8],
    id: ConnectionId,
    messages: usize,
) -> bool {
    let (limits, now) = (&dispatcher.config.limits, dispatcher.now.at);
    let most = dispatcher.connections.most_at_once();
    let Some(entry) = dispatcher.connections.dequeue(id) else {
        return true;
    };
    if dispatcher.decisions.service.is_crowded() {
        return false;
    }
    if entry.connection.is_arriving() {
        accept::read_header(dispatcher, id);
        return true;
    }
    let (is_held, connection) = (entry.is_held(), &mut entry.connection);
    let unread = connection.take_unread();
    if !unread.is_empty() {
        let remaining = dispatcher.decode(id, &unread, messages);
        dispatcher.keep(id, unread.slice(unread.len() - remaining..));
        return true;
    }
    if is_held || connection.is_paused(limits, now) {
        return true;
    }
    let is_handshaking = connection.socket.is_handshaking();
    if is_handshaking && !dispatcher.tls.may_shake_hands() {
        return false;
    }
    let buffer = &mut buffer[..most];
    let read = connection.read(buffer, limits, now);
    if is_handshaking {
        shook_hands(dispatcher, id);
    }
    match read {
        Ok(n) => {
            dispatcher.flight.counts().bytes_in += n as u64;
            let remaining = dispatcher.decode(id, &buffer[..n], messages);
            if remaining > 0 {
                dispatcher.keep(id, Bytes::copy_from_slice(&buffer[n - remaining..n]));
            }
        }
        Err(over) => dispatcher.note_end(id, over),
    }
    true
}

/// A part of a TLS handshake was made: counts its time, and the handshake if it is complete.
fn shook_hands<I: Io>(dispatcher: &mut Dispatcher<I>, id: ConnectionId) {
    let us = dispatcher.flight.piece(dispatcher.io.clock(), |culprit| {
        (culprit.kind, culprit.connection) = (Kind::Tls, id.raw());
    });
    dispatcher.tls.spend(us);
    let session = dispatcher
        .connections
        .find(id)
        .and_then(|entry| entry.connection.socket.session());
    if let Some(session) = session.filter(|session| !session.is_handshaking() && !session.has_failed()) {
        dispatcher.tls.note_complete(session);
    }
}
