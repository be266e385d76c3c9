//! Reads PHP's serialize format into a flat tree whose texts are borrowed from the input. This module handles the
//! format and its limits; `session` decides what the values mean.
//!
//! The input comes from a table that visitors help to fill, so no length or count in it is trusted. Memory grows only
//! with the bytes that were read, nesting costs no stack, and the work is linear. Classes are only names here: no
//! object is ever created. Enums and objects with a format of their own (`C`) are skipped.
//!
//! Rejected: a crate, because none saved more work than it added. `phpserz` 0.3 is a bounded tokenizer, but it fails on
//! enums and leaves nesting, counts and references to its user, and these are most of this file. `serde_php` has no
//! objects.

mod reader;

use std::fmt;

use reader::Reader;

/// The most bytes of an input; a longer one is refused.
pub const LONGEST: usize = 512 * 1024;

/// How deep arrays and objects may be nested. Joomla's own sessions stay below 10; PHP itself stops at 4096.
pub const DEEPEST: usize = 128;

/// The most values of one input. The shortest value in an array takes six bytes. So a session's decoded text, which is
/// at most three quarters of [`LONGEST`] long, cannot have more.
pub const MOST_VALUES: usize = 65_536;

/// A value. The elements of arrays and objects are reached through [`Place`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value<'a> {
    /// `null`
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// A number with a fraction.
    Float(f64),
    /// A string; PHP's are bytes.
    Text(&'a [u8]),
    /// An array.
    Array,
    /// An object of this class.
    Object(&'a [u8]),
    /// An enum's case, or an object of a class that writes its own format.
    Opaque,
    /// A reference whose target is unknown.
    Lost,
}

/// A value that was read, with everything in it.
pub struct Tree<'a> {
    /// In the order of the text: an array or object comes before its elements.
    nodes: Vec<Node<'a>>,
    /// The node of each value that PHP numbers for references; the first value has number 1.
    numbered: Vec<u32>,
    /// The last number that is certain: an opaque object may have numbered values of its own, so the numbers after it
    /// are unknown.
    known_below: usize,
}

struct Node<'a> {
    /// The key under which the value stands in its array or object. Integer keys are not kept, because nothing looks
    /// them up.
    name: Option<&'a [u8]>,
    content: Content<'a>,
    /// The index of the first node after this one and all nodes in it.
    after: u32,
}

enum Content<'a> {
    Value(Value<'a>),
    /// The object with this number again; this occurrence has a number of its own.
    Same(usize),
    /// Another name of the value with this number; it has no number of its own.
    Alias(usize),
}

impl Content<'_> {
    /// The number that a reference points to.
    fn number(&self) -> Option<usize> {
        match self {
            Content::Value(_) => None,
            Content::Same(number) | Content::Alias(number) => Some(*number),
        }
    }
}

/// A value and where it is in its tree.
#[derive(Clone, Copy)]
pub struct Place<'t, 'a> {
    tree: &'t Tree<'a>,
    node: usize,
}

/// Reads a text that consists of one value. `None`: it is not what PHP writes, or it exceeds a limit.
pub fn parse(input: &[u8]) -> Option<Tree<'_>> {
    let (tree, end) = parse_front(input)?;
    (end == input.len() && !tree.is_dangling()).then_some(tree)
}

/// Reads the value at the start of a text, and returns where the value ends. Its references may point to values of an
/// earlier text, because PHP numbers all variables of a session together. `None`: see [`parse`].
pub fn parse_front(input: &[u8]) -> Option<(Tree<'_>, usize)> {
    if input.len() > LONGEST {
        return None;
    }
    let mut reader = Reader { input, at: 0 };
    let mut tree = Tree {
        nodes: Vec::new(),
        numbered: Vec::new(),
        known_below: usize::MAX,
    };
    let mut open: Vec<Open> = Vec::new();
    loop {
        let name = match open.last_mut() {
            Some(container) if container.missing > 0 => {
                container.missing -= 1;
                reader.key()?
            }
            Some(container) => {
                reader.expect(b'}')?;
                let node = container.node;
                tree.nodes[node].after = index(tree.nodes.len());
                open.pop();
                if open.is_empty() {
                    break;
                }
                continue;
            }
            None => None,
        };
        let (content, elements) = reader.content()?;
        let node = tree.push(name, content)?;
        if let Some(missing) = elements {
            if open.len() == DEEPEST {
                return None;
            }
            open.push(Open { node, missing });
        } else if open.is_empty() {
            break;
        }
    }
    Some((tree, reader.at))
}

/// An array or object whose elements are being read.
struct Open {
    node: usize,
    missing: usize,
}

/// Inputs are at most [`LONGEST`] bytes, so every index fits.
fn index(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

impl<'a> Tree<'a> {
    /// The value itself.
    pub fn root(&self) -> Place<'_, 'a> {
        Place { tree: self, node: 0 }.resolved()
    }

    /// Whether a reference certainly points to nothing.
    fn is_dangling(&self) -> bool {
        let known = self.known_below == usize::MAX;
        known
            && (0..self.nodes.len())
                .any(|node| self.nodes[node].content.number().is_some() && self.target(node).is_none())
    }

    /// The target of a reference: always a node before the reference.
    fn target(&self, node: usize) -> Option<usize> {
        let number = self.nodes[node].content.number()?;
        let target = *self.numbered.get(number.checked_sub(1)?)? as usize;
        (number <= self.known_below && target < node).then_some(target)
    }

    fn push(&mut self, name: Option<&'a [u8]>, content: Content<'a>) -> Option<usize> {
        let node = self.nodes.len();
        if node == MOST_VALUES {
            return None;
        }
        if !matches!(content, Content::Alias(_)) {
            self.numbered.push(index(node));
        }
        if matches!(content, Content::Value(Value::Opaque)) {
            self.known_below = self.known_below.min(self.numbered.len());
        }
        self.nodes.push(Node {
            name,
            content,
            after: index(node + 1),
        });
        Some(node)
    }
}

impl<'t, 'a> Place<'t, 'a> {
    /// The value at this place.
    pub fn value(self) -> Value<'a> {
        match self.tree.nodes[self.node].content {
            Content::Value(value) => value,
            Content::Same(_) | Content::Alias(_) => Value::Lost,
        }
    }

    /// The element of an array or object with this name. If there are several, the last one counts, as in PHP. A
    /// reference is followed.
    pub fn get(self, name: &str) -> Option<Place<'t, 'a>> {
        let nodes = &self.tree.nodes;
        let end = nodes[self.node].after as usize;
        let (mut at, mut found) = (self.node + 1, None);
        while at < end {
            if nodes[at].name == Some(name.as_bytes()) {
                found = Some(at);
            }
            at = nodes[at].after as usize;
        }
        let (tree, node) = (self.tree, found?);
        Some(Place { tree, node }.resolved())
    }

    /// The place that a reference points to. A reference to nothing stays as it is.
    fn resolved(self) -> Self {
        let (tree, mut node) = (self.tree, self.node);
        // References point backwards, so this ends.
        while let Some(target) = tree.target(node) {
            node = target;
        }
        Place { tree, node }
    }
}

impl fmt::Debug for Tree<'_> {
    /// Does not show the values, because they belong to a visitor.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tree({} values)", self.nodes.len())
    }
}

#[cfg(test)]
mod tests;
