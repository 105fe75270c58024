//! What `voxd dev` and the tests need around the daemon on one machine. Nothing here is reachable from `voxd serve`.

pub mod postgres;
