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

/// The samples of run number `run`, and the first of them once more on each of `others`: a platform's name with a voice
/// configuration that it takes.
///
/// # Errors
/// The files that were compiled in are not what they should be.
pub fn of_run(run: u64, others: &[(&str, Value)]) -> Result<Vec<Sample>, String> {
    let lines: Vec<&str> = CALLS.lines().filter(|line| !line.trim().is_empty()).collect();
    let good = lines.iter().map(|line| sample(line, run, true));
    let on_others = others.iter().zip(1..).map(|((name, voice_config), n)| {
        let first: Value = serde_json::from_str(lines.first().copied().unwrap_or_default())
            .map_err(|error| format!("a sample event: {error}"))?;
        let mut event = first;
        event["id"] = format!("answered-by-{}", name.replace('_', "-")).into();
        event["data"]["voice_config"] = voice_config.clone();
        // A number of its own: two calls to one number wait for each other.
        let text = event.to_string().replace(WRITTEN_AREA_CODE, &format!("+1{}555", area_code(run + 7 * n)));
        sample(&text, run, true)
    });
    good.chain(on_others).chain(std::iter::once(sample(BAD, run, false))).collect()
}

fn area_code(n: u64) -> &'static str {
    AREA_CODES[(n % AREA_CODES.len() as u64) as usize]
}

fn sample(text: &str, run: u64, good: bool) -> Result<Sample, String> {
    let area = area_code(run);
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

    fn others() -> Vec<(&'static str, Value)> {
        vec![
            ("acme_voice", serde_json::json!({ "platform": "acme_voice" })),
            ("other", serde_json::json!({ "platform": "other" })),
        ]
    }

    #[test]
    fn on_each_platform_a_number_of_its_own_is_called() {
        let samples = of_run(3, &others()).unwrap();
        let number = |sample: &Sample| {
            serde_json::from_str::<Value>(&sample.body).unwrap()["data"]["lead"]["phone_number"].clone()
        };
        let mut numbers: Vec<String> =
            samples.iter().filter(|sample| sample.good).map(|sample| number(sample).to_string()).collect();
        let count = numbers.len();
        numbers.sort();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(samples.iter().any(|sample| sample.name == "answered-by-acme-voice"));
    }

    #[test]
    fn good_samples_are_valid_and_the_bad_one_is_refused_for_its_misspelt_field() {
        for sample in of_run(1, &others()).unwrap() {
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
        let (one, other) = (of_run(1, &others()).unwrap(), of_run(2, &others()).unwrap());
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
