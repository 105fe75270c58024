mod database;
mod dev_postgres;
mod house;
mod outcomes;
mod platform_contract;
mod queue_consumer;
mod sqs_contract;
