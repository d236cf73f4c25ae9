//! How much text of a SoC is kept. `model::text` cleans it.

pub(super) use crate::model::text::{MAX_QUOTE as MAX_ERROR, clean};

/// The longest version kept, characters; true ones are under 40.
pub(super) const MAX_VERSION: usize = 128;
/// The longest guid kept, characters; true ones have 36.
pub(super) const MAX_GUID: usize = 64;
