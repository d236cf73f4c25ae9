//! Metrics, the log, and what is sent as OpenTelemetry.
//!
//! Imports `model`, `runtime`, `config`, `soc`, `fleet` and `sonic`.
//!
//! | module | job |
//! |---|---|
//! | catalogue | every metric: name, help, where its value comes from |
//! | samples | how a family is written, over a sink |
//! | exposition, text_sink | text formats |
//! | process | `process_*` |
//! | lateness | how late this process itself is |
//! | otlp | what is sent to an OpenTelemetry collector |
//! | log | lines on stderr: cleaned, limited, written by a thread of their own |

pub mod catalogue;
pub mod exposition;
pub mod lateness;
pub mod log;
#[cfg(feature = "otel")]
pub mod otlp;
pub mod process;
mod samples;
#[cfg(test)]
pub(crate) mod testing;
mod text_sink;
