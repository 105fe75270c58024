mod dev_postgres;
mod sqs_contract;
