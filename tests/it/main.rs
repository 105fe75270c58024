mod dev_postgres;
mod platform_contract;
mod sqs_contract;
