//! The sample events of `deploy/samples/`, fresh for each run.
//!
//! Compiled in, so that `voxd dev` works wherever the binary is. Each run gives its events ids and area codes of its own:
//! the same event sent twice would place no second call, and a call that an interrupted run left open would hold its number.

use serde_json::Value;

const CALLS: &str = include_str!("../../deploy/samples/calls.jsonl");
const BAD: &str = include_str!("../../deploy/samples/misspelt.json");

/// Area codes of the United States. The numbers are made of them and 555-01xx, which nobody has.
const AREA_CODES: [&str; 32] = [
    "415", "212", "312", "617", "206", "303", "404", "512", "602", "702", "713", "804", "901", "213", "214", "215",
    "305", "313", "314", "316", "401", "402", "405", "410", "412", "414", "419", "501", "502", "503", "504", "505",
];
/// In the file.
const WRITTEN_AREA_CODE: &str = "+1415555";

/// One message to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// As it goes to the queue.
    pub body: String,
    /// The event's id in this run.
    pub event_id: String,
    /// A short name for people: the id without the run.
    pub name: String,
    /// Whether `voxd` is to take it; a bad one is to end as a dead letter.
    pub good: bool,
}

/// The samples of run number `run`.
///
/// # Errors
/// The files that were compiled in are not what they should be.
pub fn of_run(run: u64) -> Result<Vec<Sample>, String> {
    let good = CALLS.lines().filter(|line| !line.trim().is_empty()).map(|line| sample(line, run, true));
    good.chain(std::iter::once(sample(BAD, run, false))).collect()
}

fn sample(text: &str, run: u64, good: bool) -> Result<Sample, String> {
    let area = AREA_CODES[(run % AREA_CODES.len() as u64) as usize];
    let text = text.replace(WRITTEN_AREA_CODE, &format!("+1{area}555"));
    let mut event: Value = serde_json::from_str(&text).map_err(|error| format!("a sample event: {error}"))?;
    let name = event["id"].as_str().ok_or("a sample event has no id")?.to_owned();
    let event_id = format!("{name}-run{run}");
    event["id"] = event_id.clone().into();
    Ok(Sample { body: event.to_string(), event_id, name, good })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_samples_are_valid_and_the_bad_one_is_refused_for_its_misspelt_field() {
        for sample in of_run(1).unwrap() {
            let parsed = crate::job::parse(sample.body.as_bytes());
            match parsed {
                Ok(_) => assert!(sample.good, "{}", sample.name),
                Err(rejection) => {
                    assert!(!sample.good, "{}: {rejection:?}", sample.name);
                    assert!(rejection.detail.contains("did you mean"), "{rejection:?}");
                }
            }
        }
    }

    #[test]
    fn two_runs_share_neither_ids_nor_numbers() {
        let (one, other) = (of_run(1).unwrap(), of_run(2).unwrap());
        for (a, b) in one.iter().zip(&other) {
            assert_eq!(a.name, b.name);
            assert_ne!(a.event_id, b.event_id);
            let number = |sample: &Sample| {
                let event: Value = serde_json::from_str(&sample.body).unwrap();
                event["data"]["lead"]["phone_number"].as_str().unwrap().to_owned()
            };
            assert_ne!(number(a), number(b), "{}", a.name);
        }
    }
}
