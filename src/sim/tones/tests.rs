use proptest::prelude::*;

use super::*;
use crate::audio::{AudioFormat, Decoder, Encoder, Encoding, Pick};

const TEXT: &str = "Hello, this is voxd: the 3rd call — größer Straße 東京 yes yes.";

fn hear(samples: &[i16], split: usize) -> Vec<Heard> {
    let mut decoder = ToneDecoder::default();
    let mut heard: Vec<Heard> = samples.chunks(split.max(1)).flat_map(|part| decoder.push(part)).collect();
    heard.extend(decoder.finish());
    heard
}

fn text_of(samples: &[i16]) -> String {
    transcript(&hear(samples, 320))
}

/// There and back through a format of the API.
fn through(samples: &[i16], encoding: Encoding, rate_hz: u32) -> Vec<i16> {
    let format = AudioFormat::new(encoding, rate_hz, 1).unwrap();
    let mut encoder = Encoder::new(RATE_HZ, format).unwrap();
    let decoder = Decoder::new(format, Pick::Mix, RATE_HZ).unwrap();
    let mut bytes = Vec::new();
    samples.chunks(317).for_each(|part| encoder.push(part, &mut bytes).unwrap());
    encoder.finish(&mut bytes).unwrap();
    let (out, cut) = decoder.whole(&bytes, std::time::Duration::from_secs(600)).unwrap();
    assert!(!cut);
    out
}

/// White noise, `db` below the tones' own power.
fn noisy(samples: &[i16], db: f32, seed: u64) -> Vec<i16> {
    let mut random = fastrand::Rng::with_seed(seed);
    // Two tones have the power of PEAK², a uniform noise of ±a has a²/3.
    let most = PEAK * 10f32.powf(-db / 20.0) * 3f32.sqrt();
    samples.iter().map(|sample| (f32::from(*sample) + (random.f32() * 2.0 - 1.0) * most) as i16).collect()
}

fn louder(samples: &[i16], db: f32) -> Vec<i16> {
    let gain = 10f32.powf(db / 20.0);
    samples.iter().map(|sample| (f32::from(*sample) * gain) as i16).collect()
}

#[test]
fn what_is_spoken_is_heard() {
    assert_eq!(text_of(&encode(TEXT)), TEXT);
    assert_eq!(text_of(&encode("  a\n b ")), "a b");
    assert!(encode(" ").is_empty());
    let long = "長".repeat(300);
    assert_eq!(text_of(&encode(&format!("x {long} y"))), format!("x {long} y"));
}

#[test]
fn words_tell_where_they_were() {
    let mut sound = vec![0; 1003];
    sound.extend(encode("one two"));
    let end = sound.len() as u64;
    sound.extend([0; 5000]);
    sound.extend(encode("three"));
    let heard = hear(&sound, 320);
    let [Heard::Word { start, .. }, Heard::Word { end: two, last: true, .. }, Heard::Word { start: three, .. }] =
        &heard[..]
    else {
        panic!("{heard:?}");
    };
    for (is, should) in [(*start, 1003), (*two, end - SYMBOL as u64), (*three, end + 5000)] {
        assert!(is.abs_diff(should) <= 160, "{is} for {should}");
    }
}

#[test]
fn every_codec_and_rate_lets_the_text_through() {
    let sound = encode(TEXT);
    for rate_hz in crate::audio::RATES_HZ {
        for encoding in [Encoding::Wav, Encoding::Mulaw, Encoding::Alaw] {
            assert_eq!(text_of(&through(&sound, encoding, rate_hz)), TEXT, "{encoding:?} {rate_hz}");
        }
    }
    for rate_hz in [8000, 12_000, 16_000, 24_000, 48_000] {
        assert_eq!(text_of(&through(&sound, Encoding::Opus, rate_hz)), TEXT, "Opus {rate_hz}");
    }
}

#[test]
fn a_second_codec_noise_and_another_volume_do_no_harm() {
    let sound = encode(TEXT);
    let both = through(&through(&sound, Encoding::Mulaw, 8000), Encoding::Opus, 16_000);
    assert_eq!(text_of(&both), TEXT);
    for (db, seed) in [(-6.0, 1), (0.0, 2), (6.0, 3)] {
        let sound = noisy(&louder(&sound, db), 20.0 - db, seed);
        assert_eq!(text_of(&sound), TEXT, "{db} dB");
        assert_eq!(text_of(&through(&sound, Encoding::Mulaw, 8000)), TEXT, "{db} dB, mu-law");
        assert_eq!(text_of(&through(&sound, Encoding::Opus, 16_000)), TEXT, "{db} dB, Opus");
    }
}

/// Every frame of 20 ms, at several phases, once taken out and once doubled.
#[test]
fn a_lost_or_doubled_frame_is_heard() {
    const FRAME: usize = 320;
    let text = "yes yes no";
    let sound = encode(text);
    // Behind the last closing there is only silence.
    let spoken = sound.len() - SYMBOL;
    for phase in (0..FRAME).step_by(53) {
        for at in (phase..spoken - FRAME).step_by(FRAME) {
            let lost = [&sound[..at], &sound[at + FRAME..]].concat();
            assert_ne!(text_of(&lost), text, "lost at {at}");
            let doubled = [&sound[..at + FRAME], &sound[at..]].concat();
            assert_ne!(text_of(&doubled), text, "doubled at {at}");
            let mut silent = sound.clone();
            silent[at..at + FRAME].fill(0);
            // At a pause's edge there is less to hear, and the preamble is made to be found.
            let spoken = sound[at..at + FRAME].iter().filter(|sample| **sample != 0).count();
            assert!(at < 2 * SYMBOL || spoken < 240 || text_of(&silent) != text, "silent at {at}");
        }
    }
}

#[test]
fn a_word_that_is_not_there_is_missed() {
    let words = |text: &str| hear(&encode(text), 999);
    let sound = encode("one two three");
    let [_, Heard::Word { start, end, .. }, _] = &words("one two three")[..] else { panic!() };
    let (start, end) = (*start as usize, *end as usize + SYMBOL);
    assert_eq!(text_of(&[&sound[..start], &sound[end..]].concat()), "one \u{FFFD} three");
    assert_eq!(text_of(&[&sound[..end], &sound[start..]].concat()), "one two \u{FFFD} two three");
    assert_eq!(text_of(&[&sound[..start], &[0; 8000], &sound[end..]].concat()), "one \u{FFFD} three");
    // A stream that begins or ends within an utterance misses nothing.
    assert_eq!(text_of(&sound[start..]), "two three");
    assert_eq!(text_of(&sound[..end]), "one two");
}

#[test]
fn other_sound_is_no_text() {
    let mut random = fastrand::Rng::with_seed(7);
    let noise: Vec<i16> = (0..160_000).map(|_| random.i16(..)).collect();
    assert_eq!(hear(&noise, 320), []);
    let sweep: Vec<i16> =
        (0..160_000).map(|n| ((n as f32).powf(1.6) * 0.01).sin()).map(|s| (s * 9000.0) as i16).collect();
    assert_eq!(hear(&sweep, 320), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn any_text_survives_any_codec(
        text in "\\PC{1,12}( \\PC{1,12}){0,5}", codec in 0..5usize, silence in 0..2000usize, split in 1..2000usize, db in -6.0..6.0f32, seed in 0u64..,
    ) {
        let expected = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let sound = [vec![0; silence], encode(&text), vec![0; silence]].concat();
        let sound = noisy(&louder(&sound, db), 20.0 - db, seed);
        let sound = match codec {
            0 => sound,
            1 => through(&sound, Encoding::Mulaw, 8000),
            2 => through(&sound, Encoding::Alaw, 8000),
            3 => through(&sound, Encoding::Opus, 16_000),
            _ => through(&sound, Encoding::Wav, 44_100),
        };
        let heard = hear(&sound, split);
        prop_assert_eq!(transcript(&heard), expected);
        prop_assert_eq!(heard, hear(&sound, 320));
    }
}
