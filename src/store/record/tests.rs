//! What lies on the disk stays readable, and rows can grow. That every record comes back as it was and a damaged one
//! does not is held in [`super::property`].

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::codec::{Fields, Writer, Written, are_ascending, write_choice, write_row};
use super::property::framed;
use super::rows::{KINDS, SAMPLES, choice, row};
use super::samples::{Random, Sample, variants_read_by};
use super::*;
use crate::domain::recipient::Recipient;

/// Records as they were once written, each behind its kind and what is special about it, and before what it is. Lines
/// are only ever added, and their bytes never changed: that would lose what is stored. What it is follows the names of
/// types and fields.
const GOLDEN: &str = include_str!("golden.txt");

struct Golden {
    name: &'static str,
    bytes: Vec<u8>,
    /// Without fields that are absent, so that one that is added changes nothing.
    shown: &'static str,
}

fn golden() -> Vec<Golden> {
    let line = |line: &'static str| {
        let (name, rest) = line.split_once(' ').unwrap();
        let (bytes, shown) = rest.split_once(' ').unwrap();
        Golden { name, bytes: unhex(bytes), shown }
    };
    GOLDEN.lines().map(line).collect()
}

fn golden_bytes(name: &str) -> Vec<u8> {
    golden().into_iter().find(|golden| golden.name == name).unwrap().bytes
}

/// What is done with the samples of a kind.
fn of_kind(name: &str) -> &'static Sample {
    let kind = name.split('/').next().unwrap();
    &SAMPLES[KINDS.iter().position(|(known, _)| *known == kind).unwrap()]
}

fn without_absent(shown: &str) -> String {
    let mut shown = shown.to_owned();
    while let Some(end) = shown.find(": None") {
        let start = shown[..end].rfind([' ', '{']).unwrap() + 1;
        shown.replace_range(start..end + ": None".len(), "");
    }
    shown.replace(" ,", "").replace(",  }", " }")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    })
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = (0..hex.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn whatever_was_ever_written_is_read_as_what_it_was() {
    for Golden { name, bytes, shown } in golden() {
        let (now, _) = (of_kind(name).read)(&bytes).unwrap();
        assert_eq!(without_absent(&now), shown, "{name}");
    }
}

#[test]
fn what_is_written_now_is_the_newest_line_of_its_name() {
    let mut names = BTreeSet::new();
    for Golden { name, bytes, shown: _ } in golden().iter().rev() {
        if names.insert(*name) {
            let (_, again) = (of_kind(name).read)(bytes).unwrap();
            assert_eq!(hex(&again), hex(bytes), "{name}: to be added to golden.txt");
        }
    }
}

#[test]
fn each_kind_variant_and_field_has_golden_bytes() {
    for (kind, _) in KINDS {
        assert!(
            golden().iter().any(|golden| golden.name.split('/').next() == Some(*kind)),
            "{kind}"
        );
    }
    let kept = variants_read_by(|| {
        for Golden { name, bytes, shown: _ } in golden() {
            drop((of_kind(name).read)(&bytes));
        }
    });
    let mut random = Random::with_seed(1);
    for ((kind, _), sample) in KINDS.iter().zip(SAMPLES) {
        for _ in 0..200 {
            let bytes = (sample.encoded)(&mut random);
            let mut shown = String::new();
            let variants = variants_read_by(|| shown = (sample.read)(&bytes).unwrap().0);
            let missing: Vec<_> = variants.difference(&kept).collect();
            let line = format!("{kind}/ {} {}", hex(&bytes), without_absent(&shown));
            assert!(missing.is_empty(), "{missing:?}, to be added to golden.txt such as\n{line}");
        }
    }
}

#[test]
fn a_delivery_to_one_address_is_short() {
    let bytes = golden_bytes("delivery/whole").len();
    assert!(bytes <= 120, "{bytes} bytes");
}

#[test]
fn a_record_of_a_later_version_is_refused() {
    let mut bytes = CounterRow(7).encode();
    bytes[0] = 2;
    assert_eq!(CounterRow::decode(&sealed(bytes)), Err(RecordError::new("unknown version 2")));
}

#[derive(Debug, Clone, PartialEq)]
enum Colour {
    Red,
    Blue,
}
choice!(Colour { 0 Red, 1 Blue });

/// A colour after two releases: one variant has data, one is new.
#[derive(Debug, Clone, PartialEq)]
enum LaterColour {
    Red,
    Blue { shade: Option<u32> },
    Green(String),
}
choice!(LaterColour { 0 Red, 1 Blue { 1 shade }, 2 Green(1 name) });

#[derive(Debug, Clone, PartialEq)]
struct Car {
    name: String,
    colour: Colour,
    owner: Option<String>,
}
// What had number 1 is gone.
row!(Car { 0 name, 2 colour, 3 owner });

#[derive(Debug, Clone, PartialEq)]
struct LaterCar {
    name: String,
    colour: LaterColour,
    owner: Option<String>,
    doors: Option<Vec<u32>>,
    sold_at: Option<DateTime<Utc>>,
}
row!(LaterCar { 0 name, 2 colour, 3 owner, 4 doors, 7 sold_at });

#[derive(Debug, PartialEq)]
struct Garage {
    cars: Vec<Car>,
    city: String,
}
row!(Garage { 0 cars, 1 city });

fn written(value: &impl Write) -> Vec<u8> {
    let mut writer = Encoder::new(Vec::new());
    value.write(&mut writer).unwrap();
    writer.into_writer()
}

/// What is read of the bytes, all of which have to be looked at.
fn read<T: Read>(bytes: &[u8]) -> Result<T, String> {
    let mut decoder = Decoder::new(bytes);
    let read = T::read(&mut decoder).map_err(|error| error.to_string())?;
    assert_eq!(decoder.position(), bytes.len());
    Ok(read)
}

fn car(owner: Option<&str>) -> Car {
    let owner = owner.map(str::to_owned);
    Car { name: "Käfer".to_owned(), colour: Colour::Blue, owner }
}

fn later_car(colour: LaterColour) -> LaterCar {
    let Car { name, owner, .. } = car(None);
    LaterCar { name, colour, owner, doors: Some(vec![2, 1]), sold_at: Some(DateTime::UNIX_EPOCH) }
}

#[test]
fn an_older_program_skips_the_fields_that_it_does_not_know() {
    let later = later_car(LaterColour::Blue { shade: Some(7) });
    assert_eq!(read(&written(&later)), Ok(car(None)));
    // Within others, too: what follows is found.
    let garage = ("Wolfsburg", vec![&later, &later]);
    let fields: [(u64, &dyn Write); 3] =
        [(0, &garage.1), (1, &garage.0.to_owned()), (9, &later.doors)];
    let mut writer = Encoder::new(Vec::new());
    write_row(&mut writer, &fields).unwrap();
    let cars = vec![car(None), car(None)];
    assert_eq!(read(&writer.into_writer()), Ok(Garage { cars, city: "Wolfsburg".to_owned() }));
}

#[test]
fn a_later_program_reads_what_has_not_got_its_fields() {
    let colour = LaterColour::Blue { shade: None };
    let later =
        LaterCar { doors: None, sold_at: None, owner: Some("A".to_owned()), ..later_car(colour) };
    assert_eq!(read(&written(&car(Some("A")))), Ok(later.clone()));
    assert_eq!(written(&later), written(&car(Some("A"))), "what is absent takes no room");
}

#[test]
fn a_required_field_that_is_missing_or_null_is_named() {
    let cut = |length: u64| {
        let mut writer = Encoder::new(Vec::new());
        writer.array(length).unwrap();
        for _ in 0..length {
            writer.null().unwrap();
        }
        writer.into_writer()
    };
    assert_eq!(read::<Car>(&cut(0)), Err("name: missing".to_owned()));
    assert_eq!(read::<Car>(&cut(4)), Err("name: missing".to_owned()));
    let garage = [&[0x82, 0x81][..], &cut(1), b"\x60"].concat();
    assert_eq!(read::<Garage>(&garage), Err("cars.name: missing".to_owned()));
}

#[test]
fn a_variant_that_is_not_known_is_named_by_kind_and_number() {
    let green = later_car(LaterColour::Green("moss".to_owned()));
    assert_eq!(read::<Car>(&written(&green)), Err("colour: 2 is no Colour".to_owned()));
    let red = later_car(LaterColour::Red);
    assert_eq!(read(&written(&red)), Ok(Car { colour: Colour::Red, ..car(None) }));
    assert_eq!(
        Recipient::decode(&framed(b"\x82\x02\x83\x09\x07\x00")).unwrap_err().to_string(),
        "reason.rule: 9 is no Rule"
    );
}

#[test]
fn a_stored_value_that_breaks_a_rule_is_named_by_its_field_only() {
    let mut content = golden_bytes("intent/whole").split_off(FRAME_OCTETS);
    let good = content.windows(2).position(|pair| pair == b"re").unwrap();
    content[good + 8] = b' ';
    let cause = IntentRow::decode(&framed(&content)).unwrap_err().to_string();
    assert!(cause.starts_with("intent.address: expected an e-mail address"), "{cause}");
    assert!(!cause.contains("muster") && !cause.contains("rechnung"), "{cause}");
}
