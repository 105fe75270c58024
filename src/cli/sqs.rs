//! Which queue a command means.

use super::CommandError;
use crate::config::Config;
use crate::queue::{QueueInfo, QueueTarget, Sqs, SqsOptions};

/// Connects, and asks about the queue of `--queue`, or about the only configured one.
pub(super) async fn find(config: &Config, named: Option<&str>) -> Result<(Sqs, QueueInfo), CommandError> {
    let target = target(config, named)?;
    let sqs = Sqs::connect(SqsOptions::from_config(&config.queue)).await?;
    let info = sqs.resolve(&target).await?;
    Ok((sqs, info))
}

/// All configured queues, or the one that is named.
pub(super) async fn find_all(config: &Config, named: Option<&str>) -> Result<(Sqs, Vec<QueueInfo>), CommandError> {
    let targets = match named {
        Some(_) => vec![target(config, named)?],
        None if config.queue.urls.is_empty() => vec![target(config, None)?],
        None => config.queue.urls.iter().map(|text| configured(text)).collect::<Result<_, _>>()?,
    };
    let sqs = Sqs::connect(SqsOptions::from_config(&config.queue)).await?;
    let mut queues = Vec::new();
    for target in &targets {
        queues.push(sqs.resolve(target).await?);
    }
    Ok((sqs, queues))
}

fn target(config: &Config, named: Option<&str>) -> Result<QueueTarget, CommandError> {
    match (named, config.queue.urls.as_slice()) {
        (Some(text), _) => text.parse().map_err(|problem| CommandError::Usage(format!("--queue: {problem}"))),
        (None, [only]) => configured(only),
        (None, []) => Err(CommandError::Usage("which queue? give --queue NAME, or set VOXD_QUEUES".into())),
        (None, several) => {
            Err(CommandError::Usage(format!("which queue? give --queue, one of: {}", several.join(", "))))
        }
    }
}

fn configured(text: &str) -> Result<QueueTarget, CommandError> {
    let problem = |problem| format!("bad configuration: queue.urls (VOXD_QUEUES): {problem}");
    text.parse().map_err(|text| CommandError::BadConfiguration(problem(text)))
}
