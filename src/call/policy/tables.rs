//! Where a number's person may be: libphonenumber's table of time zones, and the states of +1 area codes.
//!
//! Both tables are files of this folder, embedded; `.ci/phone-tables` rewrites them. What they say is where a number was
//! assigned: who took a mobile number along to another state is not where the table says. `lead.timezone` knows better.

use std::collections::HashMap;
use std::sync::LazyLock;

use chrono_tz::Tz;

use crate::call::PhoneNumber;

const ZONES: &str = include_str!("zones.tsv");
const STATES: &str = include_str!("states.tsv");
/// Provinces and territories; every other name of the table is of the US.
const OF_CANADA: &[&str] = &["AB", "BC", "MB", "NB", "NL", "NS", "NT", "NU", "ON", "PE", "QC", "SK", "YT"];

struct ZoneTable {
    by_prefix: HashMap<&'static str, &'static [Tz]>,
    longest: usize,
}

static ZONE_TABLE: LazyLock<ZoneTable> = LazyLock::new(|| {
    let mut by_prefix = HashMap::new();
    for (names, prefixes) in lines(ZONES) {
        // A line with a zone that this program does not know counts as unknown; a test holds that there is none.
        let Ok(zones) = names.split(' ').map(str::parse).collect::<Result<Vec<Tz>, _>>() else { continue };
        let zones: &'static [Tz] = zones.leak();
        by_prefix.extend(prefixes.split(' ').map(|prefix| (prefix, zones)));
    }
    let longest = by_prefix.keys().map(|prefix| prefix.len()).max().unwrap_or(0);
    ZoneTable { by_prefix, longest }
});

static STATE_TABLE: LazyLock<HashMap<&'static str, Vec<&'static str>>> = LazyLock::new(|| {
    let of_line = |(states, areas): (&'static str, &'static str)| {
        areas.split(' ').map(move |area| (area, states.split(' ').collect()))
    };
    lines(STATES).flat_map(of_line).collect()
});

fn lines(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'))
}

/// The zones that the number's person may be in: those of the longest prefix in the table. Empty: the table does not know.
pub fn zones(number: &PhoneNumber) -> &'static [Tz] {
    let digits = &number.as_e164()[1..];
    let longest = ZONE_TABLE.longest.min(digits.len());
    (1..=longest).rev().find_map(|length| ZONE_TABLE.by_prefix.get(&digits[..length]).copied()).unwrap_or_default()
}

/// The area code of a +1 number.
pub fn area_code(number: &PhoneNumber) -> Option<&str> {
    number.as_e164().strip_prefix("+1")?.get(..3)
}

/// The states, provinces or territories of a +1 number's area code, by postal abbreviation; several where they share it.
/// Empty: not known.
pub fn states(number: &PhoneNumber) -> &'static [&'static str] {
    area_code(number).and_then(|area| STATE_TABLE.get(area)).map(Vec::as_slice).unwrap_or_default()
}

/// `US` or `CA` for a postal abbreviation that the table has.
pub fn country_of_state(state: &str) -> Option<&'static str> {
    let known = STATE_TABLE.values().flatten().any(|known| *known == state);
    known.then(|| if OF_CANADA.contains(&state) { "CA" } else { "US" })
}

/// Every zone that the table can give.
pub fn all_zones() -> Vec<Tz> {
    let mut zones: Vec<Tz> = ZONE_TABLE.by_prefix.values().flat_map(|zones| zones.iter().copied()).collect();
    zones.sort_by_key(|zone| zone.name());
    zones.dedup();
    zones
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone_names(number: &str) -> Vec<&'static str> {
        zones(&PhoneNumber::parse(number).unwrap()).iter().map(|zone| zone.name()).collect()
    }

    #[test]
    fn every_line_of_the_tables_is_read() {
        for (names, prefixes) in lines(ZONES) {
            for name in names.split(' ') {
                assert!(name.parse::<Tz>().is_ok(), "{name}");
            }
            assert!(prefixes.split(' ').all(|prefix| prefix.bytes().all(|b| b.is_ascii_digit())), "{names}");
        }
        assert_eq!((ZONE_TABLE.by_prefix.len(), all_zones().len()), (3240, 285));
        assert!(STATE_TABLE.len() > 380, "{}", STATE_TABLE.len());
    }

    #[test]
    fn the_longest_prefix_wins() {
        assert_eq!(zone_names("+12025550123"), ["America/New_York"]);
        assert_eq!(zone_names("+13035550123"), ["America/Denver"]);
        // Idaho's area code lies in two zones; what the table knows closer stands for itself.
        assert_eq!(zone_names("+12082990123"), ["America/Boise", "America/Los_Angeles"]);
        assert_eq!(zone_names("+12082450123"), ["America/Los_Angeles"]);
        assert_eq!(zone_names("+4930123456"), ["Europe/Berlin"]);
        // Of no place: all zones of its country code.
        assert!(zone_names("+18005550123").len() > 30);
    }

    #[test]
    fn states_come_from_the_area_code() {
        let states = |number: &str| states(&PhoneNumber::parse(number).unwrap());
        assert_eq!(states("+13055550123"), ["FL"]);
        assert_eq!(states("+19025550123"), ["NS", "PE"]);
        assert_eq!(states("+18005550123"), [""; 0]);
        assert_eq!(states("+4930123456"), [""; 0]);
        assert_eq!(
            (country_of_state("ON"), country_of_state("TX"), country_of_state("XX")),
            (Some("CA"), Some("US"), None)
        );
    }
}
