use super::*;
use crate::audio::format::{AudioFormat, Encoding};

/// A chunk with its padding.
fn chunk(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    let mut out = [&name[..], &(body.len() as u32).to_le_bytes(), body].concat();
    out.resize(out.len().next_multiple_of(2), 0);
    out
}

fn fmt(codec: u16, channels: u16, rate_hz: u32, bits: u16) -> Vec<u8> {
    let frame = channels * bits.div_ceil(8);
    let mut body = Vec::new();
    body.extend(codec.to_le_bytes());
    body.extend(channels.to_le_bytes());
    body.extend(rate_hz.to_le_bytes());
    body.extend((rate_hz * u32::from(frame)).to_le_bytes());
    body.extend(frame.to_le_bytes());
    body.extend(bits.to_le_bytes());
    body
}

fn extensible(codec: u16, bits: u16) -> Vec<u8> {
    let mut body = fmt(0xFFFE, 1, 16_000, bits);
    body.extend(22u16.to_le_bytes());
    body.extend(bits.to_le_bytes());
    body.extend(4u32.to_le_bytes());
    body.extend(codec.to_le_bytes());
    body.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]);
    body
}

/// A file of these chunks.
fn riff(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = [&b"WAVE"[..], &chunks.concat()].concat();
    [&b"RIFF"[..], &(body.len() as u32).to_le_bytes(), &body].concat()
}

/// Samples, rate, and whether the file was cut.
fn read_in(bytes: &[u8], split: usize) -> Result<(Vec<i16>, u32, bool), AudioError> {
    let mut reader = WavReader::new(Pick::Mix);
    let mut out = Vec::new();
    for mut part in bytes.chunks(split.max(1)) {
        while !part.is_empty() {
            part = &part[reader.push(part, &mut out)?..];
        }
    }
    let cut = reader.finish()?;
    Ok((out, reader.rate_hz().unwrap(), cut))
}

fn read(bytes: &[u8]) -> Result<(Vec<i16>, u32, bool), AudioError> {
    let whole = read_in(bytes, bytes.len());
    for split in [1, 2, 3, 7, 44] {
        assert_eq!(read_in(bytes, split), whole, "in pieces of {split}");
    }
    whole
}

fn problem(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

const PCM: [u8; 6] = [1, 0, 2, 0, 3, 0];

#[test]
fn every_width_and_header_is_read() {
    let cases: [(Vec<u8>, &[u8], &[i16]); 11] = [
        (fmt(1, 1, 16_000, 8), &[0x80, 0x81, 0x7F], &[0, 256, -256]),
        (fmt(1, 1, 16_000, 16), &PCM, &[1, 2, 3]),
        (fmt(1, 2, 16_000, 16), &[1, 0, 3, 0, 10, 0, 20, 0], &[2, 15]),
        (fmt(1, 1, 16_000, 24), &[0, 1, 0, 0, 2, 0], &[1, 2]),
        (fmt(1, 1, 16_000, 20), &[0, 1, 0, 0, 2, 0], &[1, 2]),
        (fmt(1, 1, 16_000, 32), &[0, 0, 1, 0, 0, 0, 2, 0], &[1, 2]),
        (fmt(3, 1, 16_000, 32), &0.25f32.to_le_bytes(), &[8192]),
        (fmt(3, 1, 16_000, 64), &(-0.25f64).to_le_bytes(), &[-8192]),
        (fmt(6, 1, 16_000, 8), &[0xD5, 0x2A], &[8, -32256]),
        (fmt(7, 1, 16_000, 8), &[0xFF, 0x00], &[0, -32124]),
        (extensible(1, 16), &PCM, &[1, 2, 3]),
    ];
    for (fmt, sound, samples) in cases {
        let file = riff(&[chunk(b"fmt ", &fmt), chunk(b"data", sound)]);
        assert_eq!(read(&file), Ok((samples.to_vec(), 16_000, false)), "{fmt:?}");
    }
    assert_eq!(read(&riff(&[chunk(b"fmt ", &extensible(3, 32)), chunk(b"data", &[0; 4])])).unwrap().0, [0]);
}

#[test]
fn other_chunks_are_passed_over_with_or_without_padding() {
    let (fmt, data) = (chunk(b"fmt ", &fmt(1, 1, 8000, 16)), chunk(b"data", &PCM));
    let (list, odd) = (chunk(b"LIST", b"INFOISFT\x04\0\0\0me\0\0"), chunk(b"junk", b"odd"));
    let mut unpadded = odd.clone();
    unpadded.pop();
    for before in [vec![], list.clone(), odd, unpadded, chunk(b"bext", &[7; 700]), chunk(b"PAD ", b"")] {
        let file = riff(&[before.clone(), fmt.clone(), before, data.clone(), list.clone()]);
        assert_eq!(read(&file), Ok((vec![1, 2, 3], 8000, false)));
    }
}

#[test]
fn sizes_of_streams_mean_until_the_end() {
    for size in [0u32, 0x7FFF_F000, 0x7FFF_FFFF, 0xFFFF_FFFF] {
        for riff_size in [size, 36] {
            let mut file = riff(&[chunk(b"fmt ", &fmt(1, 1, 16_000, 16)), chunk(b"data", &PCM)]);
            file[4..8].copy_from_slice(&riff_size.to_le_bytes());
            file[40..44].copy_from_slice(&size.to_le_bytes());
            assert_eq!(read(&file), Ok((vec![1, 2, 3], 16_000, false)), "{size:#x} {riff_size:#x}");
        }
    }
}

#[test]
fn an_empty_file_is_empty_and_a_cut_one_says_so() {
    let (fmt, list) = (chunk(b"fmt ", &fmt(1, 1, 16_000, 16)), chunk(b"LIST", b"INFO"));
    assert_eq!(
        read(&riff(&[fmt.clone(), chunk(b"data", b""), list])).unwrap_err().to_string(),
        "byte 56: the file ends before its data chunk"
    );
    assert_eq!(read(&riff(&[fmt.clone(), chunk(b"data", b"")])), Ok((vec![], 16_000, false)));
    let file = riff(&[fmt, chunk(b"data", &PCM)]);
    assert_eq!(read(&file[..file.len() - 1]), Ok((vec![1, 2], 16_000, true)));
    assert_eq!(read(&file[..file.len() - 2]), Ok((vec![1, 2], 16_000, true)));
}

#[test]
fn rf64_tells_its_size_elsewhere() {
    let ds64 = [&[0; 8][..], &6u64.to_le_bytes(), &[0; 12]].concat();
    let mut file = riff(&[
        chunk(b"ds64", &ds64),
        chunk(b"fmt ", &fmt(1, 1, 16_000, 16)),
        chunk(b"data", &PCM),
        chunk(b"LIST", b"INFO"),
    ]);
    let data = file.len() - 12 - 6 - 4;
    file[data..data + 4].fill(0xFF);
    file[..8].copy_from_slice(b"RF64\xFF\xFF\xFF\xFF");
    assert_eq!(read(&file), Ok((vec![1, 2, 3], 16_000, false)));
}

#[test]
fn refusals_name_the_byte() {
    let (good, data) = (chunk(b"fmt ", &fmt(1, 1, 16_000, 16)), chunk(b"data", &PCM));
    let with = |fmt: Vec<u8>| problem(&riff(&[chunk(b"fmt ", &fmt), data.clone()]));
    let mut avi = riff(std::slice::from_ref(&good));
    avi[8..12].copy_from_slice(b"AVI ");
    insta::assert_snapshot!([
        problem(b""),
        problem(b"RIFF"),
        problem(b"ID3\x04 and so on"),
        problem(&avi),
        problem(&[&b"RIFX"[..], &avi[4..]].concat()),
        problem(&riff(&[data.clone(), good.clone()])),
        problem(&riff(&[good.clone(), good.clone(), data.clone()])),
        problem(&riff(std::slice::from_ref(&good))),
        problem(&riff(&[chunk(b"fmt ", &[1, 0])])),
        with(fmt(0x55, 1, 16_000, 16)),
        with(fmt(1, 6, 16_000, 16)),
        with(fmt(1, 0, 16_000, 16)),
        with(fmt(1, 1, 96_000, 16)),
        with(fmt(1, 1, 16_000, 40)),
        with(fmt(6, 1, 16_000, 16)),
        with(fmt(1, 1, 16_000, 0)),
        with(fmt(0xFFFE, 1, 16_000, 16)),
        with(extensible(0x55, 16)),
    ].join("\n"), @r#"
    byte 0: there are no bytes
    byte 4: the file ends within its RIFF header
    byte 0: the file begins with "ID3\x04", expected "RIFF"
    byte 8: RIFF of kind "AVI ", expected "WAVE"
    byte 0: RIFX (big-endian WAV) is not read
    byte 12: the data chunk stands before the fmt chunk
    byte 36: a second fmt chunk
    byte 36: the file ends before its data chunk
    byte 12: a fmt chunk of 2 bytes, expected 16 at least
    byte 20: WAV codec 0x0055 (MPEG), expected PCM, float or G.711
    byte 22: 6 channels, expected 1 or 2
    byte 22: 0 channels, expected 1 or 2
    byte 24: a sample rate of 96000 Hz, expected one of 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000
    byte 32: 40 bits a sample in frames of 5 bytes do not fit codec 1
    byte 32: 16 bits a sample in frames of 2 bytes do not fit codec 6
    byte 32: 0 bits a sample in frames of 0 bytes do not fit codec 1
    byte 20: an extensible fmt chunk of 16 bytes, expected 40
    byte 44: WAV codec 0x0055 (MPEG), expected PCM, float or G.711
    "#);
}

#[test]
fn what_is_written_is_read() {
    for encoding in [Encoding::Wav, Encoding::Pcm16, Encoding::Mulaw, Encoding::Alaw] {
        for channels in [1, 2] {
            let format = AudioFormat::new(encoding, 8000, channels).unwrap();
            let sound = [0xD5; 12];
            let streamed = [streamed_header(format).unwrap(), sound.to_vec()].concat();
            let file = [header(format, 12).unwrap(), sound.to_vec()].concat();
            let (samples, rate_hz, cut) = read(&file).unwrap();
            assert_eq!(read(&streamed).unwrap(), (samples.clone(), rate_hz, cut));
            let bytes = if matches!(encoding, Encoding::Mulaw | Encoding::Alaw) { 1 } else { 2 };
            assert_eq!((samples.len(), rate_hz, cut), (12 / bytes / usize::from(channels), 8000, false));
            assert_eq!(u32_at(&file, 4) as usize + 8, file.len());
        }
    }
    let format = AudioFormat::PCM16_16K;
    assert_eq!(header(format, 0x1_0000_0000), None);
    assert_eq!(header(format, 32_000).unwrap().len(), 44);
}

proptest::proptest! {
    #[test]
    fn any_split_gives_the_same(sound in proptest::collection::vec(0u8.., 0..300), split in 1..50usize, stereo in 1..=2u16) {
        let file = riff(&[chunk(b"LIST", b"odd"), chunk(b"fmt ", &fmt(1, stereo, 44_100, 24)), chunk(b"data", &sound)]);
        proptest::prop_assert_eq!(read_in(&file, split), read_in(&file, file.len()));
    }
}
