use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

fn buffer(room: usize) -> AudioBufferManager {
    AudioBufferManager::new(16_000, Duration::from_secs(3600), room * 2)
}

fn read(buffer: &AudioBufferManager, at: u64, most: usize) -> Vec<i16> {
    let mut out = Vec::new();
    buffer.read(at, most, &mut out).unwrap();
    out
}

#[test]
fn unfinished_sound_is_read_again_and_done_with_sound_is_gone() {
    let mut buffer = buffer(100);
    buffer.append(&[1, 2, 3, 4, 5]);
    buffer.ack(2);
    assert_eq!(read(&buffer, 2, 2), [3, 4]);
    assert_eq!(read(&buffer, 2, 99), [3, 4, 5]);
    assert_eq!(buffer.read(1, 1, &mut Vec::new()), Err(BufferError::Gone { at: 1, oldest: 2 }));
    assert_eq!(read(&buffer, 99, 1), [0i16; 0]);
    assert_eq!(buffer.counts(), Counts::default());
}

#[test]
fn a_gap_is_silence_until_it_is_filled() {
    let mut buffer = buffer(100);
    buffer.append(&[1, 1]);
    buffer.insert(6, &[7, 7]).unwrap();
    assert_eq!((read(&buffer, 0, 99), buffer.gaps().collect::<Vec<_>>()), (vec![1, 1, 0, 0, 0, 0, 7, 7], vec![2..6]));
    buffer.insert(1, &[9, 4, 4]).unwrap();
    assert_eq!((read(&buffer, 0, 99), buffer.gaps().collect::<Vec<_>>()), (vec![1, 1, 4, 4, 0, 0, 7, 7], vec![4..6]));
    assert_eq!(buffer.counts(), Counts { doubled: 1, ..Counts::default() });
    buffer.ack(5);
    buffer.insert(3, &[5, 5, 5]).unwrap();
    assert_eq!((read(&buffer, 5, 99), buffer.gaps().count()), (vec![5, 7, 7], 0));
    assert_eq!(buffer.counts(), Counts { doubled: 1, late: 2, missing: 1, ..Counts::default() });
}

#[test]
fn what_does_not_fit_goes_oldest_first_and_is_counted() {
    let mut buffer = buffer(4);
    buffer.append(&[1, 2, 3]);
    buffer.append(&[4, 5]);
    assert_eq!((buffer.start(), read(&buffer, 1, 9)), (1, vec![2, 3, 4, 5]));
    buffer.append(&[6, 7, 8, 9, 10, 11]);
    assert_eq!((buffer.start(), read(&buffer, 7, 9)), (7, vec![8, 9, 10, 11]));
    assert_eq!(buffer.counts().dropped, 7);
    let error = BufferError::TooFarAhead { at: 16, ahead: 5, room: 4 };
    assert_eq!(buffer.insert(16, &[1]), Err(error));
    assert_eq!(
        buffer.insert(u64::MAX, &[1]),
        Err(BufferError::TooFarAhead { at: u64::MAX, ahead: u64::MAX - 11, room: 4 })
    );
}

#[test]
fn the_bound_is_the_smaller_of_time_and_bytes() {
    let kept = |most, bytes| {
        let mut buffer = AudioBufferManager::new(16_000, most, bytes);
        buffer.append(&[1; 100_000]);
        assert!(buffer.bytes() <= bytes);
        buffer.end() - buffer.start()
    };
    assert_eq!(kept(Duration::from_secs(1), usize::MAX), 16_000);
    assert_eq!(kept(Duration::from_secs(1), 8000), 4000);
}

#[test]
fn many_gaps_do_not_grow_without_end() {
    let mut buffer = buffer(1_000_000);
    for n in 1..10_000 {
        buffer.insert(n * 2, &[1]).unwrap();
    }
    assert_eq!(buffer.gaps().count(), MOST_GAPS);
    assert_eq!(buffer.counts().missing, 9999 - MOST_GAPS as u64 + 1);
}

#[derive(Debug, Clone)]
enum Step {
    Append(usize),
    /// Relative to the end.
    Insert(i64, usize),
    Ack(i64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..60usize).prop_map(Step::Append),
        (-80..70i64, 0..60usize).prop_map(|(at, count)| Step::Insert(at, count)),
        (-60..10i64).prop_map(Step::Ack),
    ]
}

proptest! {
    /// Against a map from number to sample: whatever came stands where it belongs, the rest is silence and known.
    #[test]
    fn it_equals_a_map(steps in prop::collection::vec(step(), 0..60), room in 1..120usize) {
        let mut buffer = buffer(room);
        let (mut came, mut end, mut value) = (BTreeMap::new(), 0u64, 0i16);
        let mut sent = 0u64;
        for step in steps {
            let mut fresh = |count| (0..count).map(|_| { value = value % 30_000 + 1; value }).collect::<Vec<i16>>();
            let (at, samples) = match step {
                Step::Append(count) => (end, fresh(count)),
                Step::Insert(by, count) => (end.saturating_add_signed(by), fresh(count)),
                Step::Ack(by) => {
                    buffer.ack(end.saturating_add_signed(by));
                    continue;
                }
            };
            let start = buffer.start();
            let before = buffer.counts();
            match buffer.insert(at, &samples) {
                Ok(()) => {
                    sent += samples.len() as u64;
                    end = end.max(at + samples.len() as u64).max(at);
                    for (number, sample) in (at..).zip(samples) {
                        if number >= start {
                            came.entry(number).or_insert(sample);
                        }
                    }
                }
                Err(_) => {
                    prop_assert!(at > end + room as u64);
                    prop_assert_eq!(buffer.counts(), before);
                }
            }
            prop_assert_eq!(buffer.end(), end);
            prop_assert!(buffer.bytes() <= 2 * room);
            let gaps: Vec<_> = buffer.gaps().collect();
            let mut out = Vec::new();
            buffer.read(buffer.start(), usize::MAX, &mut out).unwrap();
            prop_assert!(out.len() <= room);
            for (number, sample) in (buffer.start()..).zip(out) {
                let missing = gaps.iter().any(|gap| gap.contains(&number));
                prop_assert_eq!(missing, !came.contains_key(&number), "sample {}", number);
                prop_assert_eq!(sample, came.get(&number).copied().unwrap_or(0));
            }
        }
        let counts = buffer.counts();
        prop_assert!(counts.late + counts.doubled <= sent);
    }
}
