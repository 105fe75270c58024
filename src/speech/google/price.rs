//! What it costs, by the price list in the settings.

use std::time::Duration;

use rust_decimal::Decimal;

use crate::call::money::Money;
use crate::config::GoogleSpeech;

/// Sound is counted by the second.
pub fn heard(settings: &GoogleSpeech, billed: Duration) -> Option<Money> {
    let seconds = billed.as_secs() + u64::from(billed.subsec_nanos() > 0);
    money(settings, settings.stt_per_minute? * Decimal::from(seconds) / Decimal::from(60))
}

/// The family is the part of a voice's name behind its language: `en-US-Chirp3-HD-Aoede`. Voices of families without a
/// price in the list have none.
pub fn said(settings: &GoogleSpeech, voice: &str, characters: u64) -> Option<Money> {
    let family = voice.split('-').nth(2).unwrap_or_default();
    let per_million = match family {
        "Standard" | "Wavenet" => settings.tts_standard,
        "Neural2" => settings.tts_neural2,
        "Chirp3" | "Chirp" => settings.tts_chirp3_hd,
        "Studio" => settings.tts_studio,
        _ => None,
    };
    money(settings, per_million? * Decimal::from(characters) / Decimal::from(1_000_000))
}

fn money(settings: &GoogleSpeech, amount: Decimal) -> Option<Money> {
    Some(Money { amount: amount.round_dp(6), currency: settings.currency.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Environment};

    #[test]
    fn prices_follow_the_list() {
        let mut settings = Config::load(None, &Environment::default()).unwrap().speech.google;
        let shown = |money: Option<Money>| money.map(|money| money.to_string());
        assert_eq!(shown(heard(&settings, Duration::from_secs(600))), Some("0.16 USD".into()));
        assert_eq!(shown(heard(&settings, Duration::from_millis(100))), Some("0.000267 USD".into()));
        assert_eq!(shown(said(&settings, "en-US-Chirp3-HD-Aoede", 1000)), Some("0.03 USD".into()));
        assert_eq!(shown(said(&settings, "de-DE-Wavenet-F", 1000)), Some("0.004 USD".into()));
        assert_eq!(shown(said(&settings, "en-US-Nobody-A", 1000)), None);
        settings.stt_per_minute = None;
        assert_eq!(heard(&settings, Duration::from_secs(60)), None);
    }
}
