//! Publishing.
pub mod rows;

#[cfg(test)]
mod testing;
