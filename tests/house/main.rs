//! Rules about the repository that no compiler checks: these tests read its sources, documents and scripts as text.

mod arrows;
mod docs;
mod programs;
mod protocol_document;
