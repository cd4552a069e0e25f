//! Numbers as text. A frame has up to twenty of them, and writing them was a quarter of what a market of 600 symbols
//! costs at full speed.

use rust_decimal::Decimal;
use std::fmt;

/// Writes what the number's own `Display` would, several times as fast for numbers of up to 19 digits.
#[derive(Clone, Copy, Debug)]
pub struct Plain(pub Decimal);

/// Digits of the largest fast number, the point, the sign, and zeros for every scale that there is.
const ROOM: usize = 52;

impl fmt::Display for Plain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mantissa, scale) = (self.0.mantissa(), self.0.scale() as usize);
        let Ok(mut rest) = u64::try_from(mantissa.unsigned_abs()) else { return write!(f, "{}", self.0) };
        let mut room = [b'0'; ROOM];
        let mut at = ROOM;
        let mut digits = 0;
        // At least one digit stands before the point.
        while rest > 0 || digits <= scale {
            if digits == scale && scale > 0 {
                at -= 1;
                room[at] = b'.';
            }
            at -= 1;
            room[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
            digits += 1;
        }
        if mantissa < 0 {
            at -= 1;
            room[at] = b'-';
        }
        // Only ASCII was written.
        f.write_str(std::str::from_utf8(&room[at..]).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn plain_numbers_look_as_usual() {
        for text in [
            "0",
            "0.00",
            "1",
            "-1",
            "-0.5",
            "0.000000001",
            "86431.40",
            "1000000000",
            "0.0000000000000000000000000001",
            "-18446744073709551615",
            "18446744073709551616",
            "79228162514264337593543950335",
            "1.8446744073709551615",
        ] {
            let number: Decimal = text.parse().expect(text);
            assert_eq!(Plain(number).to_string(), number.to_string(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn plain_is_what_display_says(mantissa in any::<i64>(), scale in 0..28_u32) {
            let number = Decimal::new(mantissa, scale);
            prop_assert_eq!(Plain(number).to_string(), number.to_string());
        }
    }
}
