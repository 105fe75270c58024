use super::*;

fn wave(samples: usize) -> Vec<i16> {
    let tone = |n: usize, hz: f64| (n as f64 * std::f64::consts::TAU * hz / 16_000.0).sin();
    (0..samples).map(|n| ((tone(n, 440.0) + tone(n, 1310.0)) * 6000.0) as i16).collect()
}

fn file(samples: &[i16], live: bool) -> Vec<u8> {
    let mut writer = OpusWriter::new(16_000, live).unwrap();
    let mut out = Vec::new();
    samples.chunks(333).for_each(|part| writer.push(part, &mut out).unwrap());
    writer.finish(&mut out).unwrap();
    out
}

fn read(bytes: &[u8], split: usize) -> Result<(Vec<i16>, bool), AudioError> {
    let mut reader = OpusReader::new(Pick::Mix);
    let mut out = Vec::new();
    for mut part in bytes.chunks(split.max(1)) {
        while !part.is_empty() {
            part = &part[reader.push(part, &mut |samples| out.extend_from_slice(samples))?..];
        }
    }
    Ok((out, reader.finish()?))
}

#[test]
fn sound_comes_back_with_its_exact_length() {
    for samples in [0, 1, 320, 321, 5000, 16_000] {
        for live in [false, true] {
            let bytes = file(&wave(samples), live);
            let (out, cut) = read(&bytes, bytes.len()).unwrap();
            assert_eq!((out.len(), cut), (samples * 3, false));
            assert_eq!(read(&bytes, 1).unwrap().0, out);
        }
    }
}

#[test]
fn sound_comes_back_in_its_place() {
    let sent = wave(16_000);
    let (out, _) = read(&file(&sent, false), 4096).unwrap();
    let error: f64 = sent.iter().zip(out.iter().step_by(3)).skip(800).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let power: f64 = sent.iter().skip(800).map(|a| f64::from(*a).powi(2)).sum();
    // A sample of 16 kHz beside its place would halve this.
    assert!(10.0 * (power / error).log10() > 8.0, "{} dB", 10.0 * (power / error).log10());
}

#[test]
fn a_cut_file_says_so_and_a_hurt_one_names_its_page() {
    let bytes = file(&wave(16_000), true);
    let (out, cut) = read(&bytes[..bytes.len() - 1], 4096).unwrap();
    assert!(cut && out.len() > 40_000);
    let at = bytes.len() - 1;
    let mut hurt = bytes.clone();
    hurt[at] ^= 1;
    assert!(read(&hurt, 4096).unwrap_err().to_string().contains("the checksum of Ogg page"));
    // A page is taken out.
    let pages: Vec<usize> = (0..bytes.len() - 3).filter(|at| bytes[*at..].starts_with(b"OggS")).collect();
    let lost = [&bytes[..pages[5]], &bytes[pages[6]..]].concat();
    let problem = read(&lost, 4096).unwrap_err().to_string();
    assert_eq!(problem, format!("byte {}: page 6 where 5 was due: bytes were lost", pages[5]));
}

#[test]
fn what_is_no_opus_is_refused() {
    let problem = |bytes: &[u8]| read(bytes, 100).unwrap_err().to_string();
    assert_eq!(problem(b"RIFF"), "byte 0: no Ogg page begins here, expected \"OggS\"");
    assert_eq!(problem(b""), "byte 0: the file ends before its sound");
    let mut vorbis = file(&[], false);
    let at = vorbis.windows(8).position(|bytes| bytes == b"OpusHead").unwrap();
    vorbis[at..at + 8].copy_from_slice(b"\x01vorbis\0");
    page::seal(&mut vorbis);
    assert_eq!(problem(&vorbis), "byte 0: the stream in the Ogg file is not Opus");
}
