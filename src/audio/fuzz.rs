//! Hostile files: none may panic, hang, or take more memory than its parser is allowed.
//!
//! `VOXD_FUZZ_INPUTS` says how many are tried (`make fuzz`: ten million); the seed is the number of the input.

use allocation_counter::measure;
use fastrand::Rng;

use super::*;

/// What a decoder may hold at once, beside the samples that it has given: Opus's own state, a page, a resampler.
const MOST_BYTES: u64 = 1024 * 1024;
/// Of what is given in one push: the longest page of Opus, and the vector's growth by doubling.
const MOST_GIVEN: u64 = 8 * 1024 * 1024;

/// Valid files of every kind, to be hurt.
fn seeds() -> Vec<(AudioFormat, Vec<u8>)> {
    let wave: Vec<i16> = (0..3000).map(|n| ((n as f32 * 0.2).sin() * 9000.0) as i16).collect();
    let file = |encoding, rate_hz, channels| {
        let format = AudioFormat::new(encoding, rate_hz, channels).unwrap();
        (format, Encoder::file(16_000, format, &wave).unwrap())
    };
    let list = [&b"LIST\x05\0\0\0junk!\0"[..]].concat();
    let (wav, mut chunky) = file(Encoding::Wav, 8000, 2);
    chunky.splice(12..12, list);
    let mut streamed = Vec::new();
    Encoder::new(16_000, wav).unwrap().push(&wave, &mut streamed).unwrap();
    vec![
        file(Encoding::Wav, 16_000, 1),
        (wav, chunky),
        (wav, streamed),
        file(Encoding::Opus, 16_000, 1),
        file(Encoding::Pcm16, 22_050, 2),
        file(Encoding::Mulaw, 8000, 1),
    ]
}

/// Sizes and counts that headers should not hold.
const NASTY: [u32; 9] = [0, 1, 17, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 0xFFFF_FFFE, 0x7FFF_F000, 0xFFFE];

fn hurt(bytes: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(0..8) {
        if bytes.is_empty() {
            return;
        }
        // Headers are where it hurts.
        let reach = if random.bool() { bytes.len().min(120) } else { bytes.len() };
        let at = random.usize(..reach);
        match random.u8(..6) {
            0 => bytes[at] = random.u8(..),
            1 => bytes[at] ^= 1 << random.u8(..8),
            2 => bytes.truncate(at),
            3 => {
                let nasty = NASTY[random.usize(..NASTY.len())].to_le_bytes();
                bytes[at..].iter_mut().zip(nasty).for_each(|(to, from)| *to = from);
            }
            4 => {
                let piece: Vec<u8> = (0..random.usize(..40)).map(|_| random.u8(..)).collect();
                bytes.splice(at..at, piece);
            }
            _ => {
                let end = (at + random.usize(..200)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
    }
}

/// How it went: samples given, and whether it was refused.
fn run(format: AudioFormat, bytes: &[u8], random: &mut Rng) -> (usize, bool) {
    let pick = [Pick::Mix, Pick::Left, Pick::Right][random.usize(..3)];
    let mut decoder = Decoder::new(format, pick, 16_000).unwrap();
    let (mut given, mut out) = (0, Vec::new());
    let mut rest = bytes;
    while !rest.is_empty() {
        let part = &rest[..random.usize(1..=rest.len())];
        match decoder.push(part, &mut out) {
            Ok(read) => rest = &rest[read..],
            Err(error) => {
                let at = match error {
                    AudioError::Malformed { at, .. } | AudioError::Unsupported { at, .. } => at,
                    other => panic!("{other}"),
                };
                assert!(at <= bytes.len() as u64, "{error} of {}", bytes.len());
                return (given + out.len(), true);
            }
        }
        given += out.len();
        out = Vec::new();
    }
    let refused = decoder.finish(&mut out).is_err();
    (given + out.len(), refused)
}

#[test]
fn hostile_files_are_refused_or_read_within_the_bound() {
    let inputs = std::env::var("VOXD_FUZZ_INPUTS").ok().map_or(3000, |count| count.parse().unwrap());
    let first: u64 = std::env::var("VOXD_FUZZ_FIRST").ok().map_or(0, |first| first.parse().unwrap());
    let seeds = seeds();
    let (mut refused, mut samples, mut most) = (0u64, 0u64, 0u64);
    for n in first..first + inputs {
        let mut random = Rng::with_seed(n);
        let (format, mut bytes) = seeds[random.usize(..seeds.len())].clone();
        if random.u8(..10) == 0 {
            bytes = (0..random.usize(..600)).map(|_| random.u8(..)).collect();
        }
        hurt(&mut bytes, &mut random);
        if format.encoding == Encoding::Opus && random.u8(..4) > 0 {
            opus::seal(&mut bytes);
        }
        let mut outcome = (0, false);
        let used = measure(|| outcome = run(format, &bytes, &mut random));
        let given = (outcome.0 * size_of::<i16>()) as u64;
        assert!(used.bytes_max <= MOST_BYTES + (2 * given).min(MOST_GIVEN), "input {n}: {used:?} for {given} bytes");
        refused += u64::from(outcome.1);
        samples += outcome.0 as u64;
        most = most.max(used.bytes_max);
    }
    println!("{inputs} hostile files: {refused} refused, {samples} samples read, none took more than {most} bytes");
    assert!(inputs == 0 || (refused > 0 && samples > 0));
}

/// A page of 255 packets of one byte, each 60 ms: half a kilobyte that becomes 15 s, page after page.
#[test]
fn a_bomb_is_given_in_pieces() {
    let (format, file) = seeds().swap_remove(3);
    let pages: Vec<usize> = (0..file.len() - 3).filter(|at| file[*at..].starts_with(b"OggS")).collect();
    let mut bomb = file[..pages[2]].to_vec();
    for n in 2..8u32 {
        let mut page = file[pages[0]..pages[0] + 27].to_vec();
        page[5] = 0;
        page[6..14].copy_from_slice(&i64::MAX.to_le_bytes());
        page[18..22].copy_from_slice(&n.to_le_bytes());
        page[26] = 255;
        page.extend([1; 255]);
        // SILK, 60 ms, one frame.
        page.extend([0x18; 255]);
        bomb.extend(page);
    }
    opus::seal(&mut bomb);
    let mut decoder = Decoder::new(format, Pick::Mix, 16_000).unwrap();
    let (mut rest, mut given) = (&bomb[..], 0);
    while !rest.is_empty() {
        let mut read = 0;
        let used = measure(|| {
            let mut out = Vec::new();
            read = decoder.push(rest, &mut out).unwrap();
            given += out.len();
            assert!(out.len() < 33 * 16_000);
        });
        assert!(used.bytes_max < MOST_BYTES + MOST_GIVEN, "{used:?}");
        rest = &rest[read..];
    }
    assert_eq!(given / 16_000, 6 * 255 * 60 / 1000);
    let decoder = Decoder::new(format, Pick::Mix, 16_000).unwrap();
    let most = Duration::from_secs(60);
    assert!(matches!(decoder.whole(&bomb, most), Err(AudioError::TooLong { .. })));
}
