//! The flight recorder: which tick of the loop was slow, where its time went, and whose fault it was.
//!
//! The loop calls [`Recorder::lap`] at the end of each phase that had work, and [`Recorder::piece`] after each piece of
//! work that can be blamed. Laps follow each other without a gap, so the times of the phases add up to the time of the
//! tick. The longest piece of a tick is its culprit. The recorder keeps the latest ticks, the worst since the start and
//! the worst of the last hour. All memory is bounded, and a tick allocates nothing once the buffers have grown.
//!
//! Not to be confused with a trace (`--record`): that one holds inputs and actions, this one holds times.

mod culprit;
mod recorder;
mod report;
mod tick;
mod worst;

pub use self::culprit::{Culprit, Kind};
pub use self::recorder::{Recorder, SAMPLE};
pub use self::report::{Blame, CulpritView, Lag, Report, TickView};
pub use self::tick::{Counts, Durations, LONGEST, PHASES, Phase, Tick, Totals};
pub use self::worst::MOST_WORST;
