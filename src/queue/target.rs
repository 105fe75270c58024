//! How a queue is named in the settings: a name or a URL, each optionally `=WEIGHT`.

use std::str::FromStr;

/// A queue as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueTarget {
    pub address: Address,
    /// Its part of the backlog where several queues have messages, 1 to 1000.
    pub weight: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    Name(String),
    /// Used as given, also where its host is an emulator's that does not resolve: requests go to the configured endpoint.
    Url(String),
}

impl Address {
    pub fn as_str(&self) -> &str {
        match self {
            Address::Name(text) | Address::Url(text) => text,
        }
    }
}

impl FromStr for QueueTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let (address, weight) = match text.rsplit_once('=') {
            Some((address, weight)) => {
                let number = weight.trim().parse().ok().filter(|weight| (1..=1000).contains(weight));
                let problem = || format!("{text:?} has the weight {weight:?}, expected a whole number from 1 to 1000");
                (address.trim(), number.ok_or_else(problem)?)
            }
            None => (text, 1),
        };
        if address.starts_with("https://") || address.starts_with("http://") {
            let url = url::Url::parse(address).map_err(|error| format!("{address:?} is not a queue URL: {error}"))?;
            let name = url.path_segments().and_then(|mut parts| parts.next_back()).unwrap_or_default();
            check_name(name).map_err(|problem| format!("{address:?} is not a queue URL: its last part {problem}"))?;
            return Ok(Self { address: Address::Url(address.into()), weight });
        }
        check_name(address).map_err(|problem| format!("{address:?} {problem}"))?;
        Ok(Self { address: Address::Name(address.into()), weight })
    }
}

/// SQS: letters, digits, hyphens and underscores, at most 80 characters, `.fifo` included.
fn check_name(name: &str) -> Result<(), String> {
    let stem = name.strip_suffix(".fifo").unwrap_or(name);
    let good = !stem.is_empty() && stem.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if good && name.len() <= 80 {
        return Ok(());
    }
    Err("is not a queue name, expected up to 80 letters, digits, - and _ (and .fifo)".into())
}

/// The region that an AWS queue URL belongs to; `None` for hosts that are not AWS's.
pub(super) fn region_of(url: &str) -> Option<String> {
    let host = url::Url::parse(url).ok()?.host_str()?.to_owned();
    let aws = [".amazonaws.com", ".amazonaws.com.cn", ".api.aws", ".api.amazonwebservices.com.cn"];
    let stem = aws.iter().find_map(|suffix| host.strip_suffix(suffix))?;
    let parts: Vec<&str> = stem.split('.').filter(|part| *part != "vpce").collect();
    match parts.as_slice() {
        // The oldest form, of us-east-1 alone.
        ["queue"] => Some("us-east-1".into()),
        [region, "queue"] => Some((*region).to_owned()),
        [.., service, region] if matches!(*service, "sqs" | "sqs-fips") => Some((*region).to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_urls_are_told_apart_and_weights_come_off() {
        let target = |text: &str| text.parse::<QueueTarget>().unwrap();
        assert_eq!(target("calls"), QueueTarget { address: Address::Name("calls".into()), weight: 1 });
        assert_eq!(target(" calls.fifo = 3"), QueueTarget { address: Address::Name("calls.fifo".into()), weight: 3 });
        let url = "https://sqs.eu-west-1.amazonaws.com/123456789012/calls";
        assert_eq!(target(&format!("{url}=5")), QueueTarget { address: Address::Url(url.into()), weight: 5 });
    }

    #[test]
    fn what_names_no_queue_is_refused_in_words() {
        for (text, says) in [
            ("", "is not a queue name"),
            ("my queue", "is not a queue name"),
            ("calls=0", "expected a whole number from 1 to 1000"),
            ("calls=many", "expected a whole number"),
            ("https://sqs.eu-west-1.amazonaws.com/", "is not a queue URL"),
            (".fifo", "is not a queue name"),
        ] {
            let problem = text.parse::<QueueTarget>().unwrap_err();
            assert!(problem.contains(says), "{text}: {problem}");
        }
    }

    #[test]
    fn the_region_is_read_from_all_of_awss_hosts() {
        for (host, region) in [
            ("sqs.eu-west-1.amazonaws.com", Some("eu-west-1")),
            ("eu-west-1.queue.amazonaws.com", Some("eu-west-1")),
            ("queue.amazonaws.com", Some("us-east-1")),
            ("sqs-fips.us-gov-west-1.amazonaws.com", Some("us-gov-west-1")),
            ("sqs.cn-north-1.amazonaws.com.cn", Some("cn-north-1")),
            ("vpce-1-2.sqs.eu-central-1.vpce.amazonaws.com", Some("eu-central-1")),
            ("sqs.eu-west-1.api.aws", Some("eu-west-1")),
            ("localhost", None),
            ("sqs.eu-west-1.localhost.localstack.cloud", None),
        ] {
            assert_eq!(region_of(&format!("https://{host}/1/q")).as_deref(), region, "{host}");
        }
    }
}
