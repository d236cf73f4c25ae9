//! Publishing.
pub mod rows;
pub mod state_db;

#[cfg(test)]
mod testing;
