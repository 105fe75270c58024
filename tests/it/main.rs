mod database;
mod dev_postgres;
mod platform_contract;
mod outcomes;
mod sqs_contract;
//! Tests through the front doors, in one binary.

mod queue_consumer;
