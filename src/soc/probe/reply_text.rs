//! How much text of a SoC is kept. `model::text` cleans it.

pub(super) use crate::model::text::{MAX_QUOTE as MAX_ERROR, clean};

/// The longest version that is kept, in characters. Real ones are under 40.
pub(super) const MAX_VERSION: usize = 128;
/// The longest guid that is kept, in characters. Real ones have 36.
pub(super) const MAX_GUID: usize = 64;
