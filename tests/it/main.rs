mod database;
mod dev_postgres;
mod platform_contract;
mod outcomes;
mod sqs_contract;
