//! What `voxd dev` and the tests need around the daemon on one machine. Nothing here is reachable from `voxd serve`.
//!
//! | room | holds |
//! |---|---|
//! | [`postgres`] | a private Postgres cluster that ends with its process |
//! | [`ports`] | listening on a port, or saying who has it |
//! | [`samples`] | sample events, fresh for each run |
//! | [`stack`] | what surrounds the daemon in `voxd dev`, started and stopped together |

pub mod ports;
pub mod postgres;
pub mod samples;
pub mod stack;
