//! What a person or a machine can see of a running `voxd`: logs, traces and metrics.
//!
//! | file | holds |
//! |---|---|
//! | [`metrics`] | every metric: name, unit, labels, description |
//! | `meter` | what a counter, a gauge and a histogram are, and their output |
//! | `process` | the process's own CPU, memory and file descriptors |

mod meter;
pub mod metrics;
mod process;
