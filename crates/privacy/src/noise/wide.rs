//! Numbers of 256 bits, of which 240 are behind the point: enough to build tables that are right to 127 bits.

/// A number below 2^16. The first word is the lowest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wide([u64; 4]);

/// Bits behind the point.
const POINT: u32 = 240;

impl Wide {
    pub(super) const ONE: Self = Self([0, 0, 0, 1 << 48]);

    /// 2^-n, for n up to 240.
    pub(super) fn power(n: u32) -> Self {
        let bit = POINT.saturating_sub(n);
        let mut words = [0; 4];
        words[bit as usize / 64] = 1 << (bit % 64);
        Self(words)
    }

    /// 2^exponent / divisor, rounded down, for a result below 2^16 and a divisor below 2^127 that is not 0.
    pub(super) fn quotient(exponent: i32, divisor: u128) -> Self {
        let mut rest = 1_u128;
        let mut result = Self([0; 4]);
        for _ in 0..exponent + POINT as i32 {
            rest <<= 1;
            result = result.doubled();
            if rest >= divisor {
                rest -= divisor;
                result.0[0] |= 1;
            }
        }
        result
    }

    /// 1 / self, rounded down, for what is at least 1 and below 2^15.
    pub(super) fn reciprocal(self) -> Self {
        // 2^480 / self, bit by bit.
        let mut rest = Self([1, 0, 0, 0]);
        let mut result = Self([0; 4]);
        for _ in 0..2 * POINT {
            rest = rest.doubled();
            result = result.doubled();
            if rest.at_least(self) {
                rest = rest.minus(self);
                result.0[0] |= 1;
            }
        }
        result
    }

    /// The sum, which must be below 2^16.
    pub(super) fn plus(self, other: Self) -> Self {
        let mut carry = 0;
        Self(std::array::from_fn(|i| {
            let sum = u128::from(self.0[i]) + u128::from(other.0[i]) + carry;
            carry = sum >> 64;
            sum as u64
        }))
    }

    /// The difference, which must not be negative.
    pub(super) fn minus(self, other: Self) -> Self {
        let mut borrow = false;
        Self(std::array::from_fn(|i| {
            let (difference, under) = self.0[i].overflowing_sub(other.0[i]);
            let (difference, again) = difference.overflowing_sub(u64::from(borrow));
            borrow = under || again;
            difference
        }))
    }

    /// The product, rounded down, which must be below 2^16.
    pub(super) fn times(self, other: Self) -> Self {
        let mut product = [0_u64; 8];
        for (i, &a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, &b) in other.0.iter().enumerate() {
                let sum = u128::from(a) * u128::from(b) + u128::from(product[i + j]) + carry;
                product[i + j] = sum as u64;
                carry = sum >> 64;
            }
            product[i + 4] = carry as u64;
        }
        // Down by 240 bits: three words and 48 bits.
        Self(std::array::from_fn(|i| {
            product[i + 3] >> 48 | product[i + 4] << 16
        }))
    }

    /// exp(-self).
    pub(super) fn negative_exponential(self) -> Self {
        // Halved 14 times it is below 1/4, where 60 terms of the series are enough; then squared as often.
        let mut x = self;
        for _ in 0..14 {
            x = x.halved();
        }
        let mut sum = Self::ONE;
        let mut term = Self::ONE;
        for n in 1..60_u128 {
            term = term.times(x).times(Self::quotient(0, n));
            sum = if n % 2 == 1 {
                sum.minus(term)
            } else {
                sum.plus(term)
            };
        }
        for _ in 0..14 {
            sum = sum.times(sum);
        }
        sum
    }

    /// Twice it, which must be below 2^16.
    pub(super) fn doubled(self) -> Self {
        self.plus(self)
    }

    fn halved(self) -> Self {
        Self(std::array::from_fn(|i| {
            let above = self.0.get(i + 1).copied().unwrap_or(0);
            self.0[i] >> 1 | above << 63
        }))
    }

    pub(super) fn at_least(self, other: Self) -> bool {
        self.0.iter().rev().ge(other.0.iter().rev())
    }

    /// The first 127 bits behind the point, rounded down, of what is below 1; all ones for what is not.
    pub(super) fn bits127(self) -> u128 {
        if self.at_least(Self::ONE) {
            return u128::MAX >> 1;
        }
        // 240 bits, of which the lowest 113 go.
        u128::from(self.0[3]) << 79 | u128::from(self.0[2]) << 15 | u128::from(self.0[1]) >> 49
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn float(x: Wide) -> f64 {
        x.0.iter()
            .enumerate()
            .map(|(i, &word)| word as f64 * 2_f64.powi(64 * i as i32 - 240))
            .sum()
    }

    #[test]
    fn arithmetic_agrees_with_floats() {
        let third = Wide::quotient(0, 3);
        assert_eq!(float(third), 1.0 / 3.0);
        assert_eq!(float(third.times(third)), 1.0 / 9.0);
        assert_eq!(
            float(third.doubled().reciprocal().plus(Wide::ONE)),
            2.5,
            "1/(2/3) + 1"
        );
        assert_eq!(float(Wide::quotient(7, 3).halved()), 64.0 / 3.0);
        assert_eq!(float(Wide::power(130)), 2_f64.powi(-130));
        assert_eq!(float(Wide::ONE.minus(Wide::power(1))), 0.5);
        assert_eq!(Wide::power(1).bits127(), 1 << 126);
        assert_eq!(Wide::power(127).bits127(), 1);
        assert_eq!(Wide::ONE.bits127(), (1 << 127) - 1);
        for (exponent, divisor) in [(0, 3), (-20, 3), (5, 1), (3, 7)] {
            let x = Wide::quotient(exponent, divisor);
            let expected = (-float(x)).exp();
            let found = float(x.negative_exponential());
            assert!((found / expected - 1.0).abs() < 1e-14, "{found} {expected}");
        }
    }

    /// exp(-1) to 60 digits: 0.367879441171442321595523770161460867445811131031767834507836...
    #[test]
    fn an_exponential_is_right_to_more_than_200_bits() {
        let found = Wide::ONE.negative_exponential();
        // The digits are read off by multiplying with 10.
        let ten = Wide::quotient(0, 1)
            .doubled()
            .doubled()
            .plus(Wide::ONE)
            .doubled();
        let mut rest = found;
        let mut digits = String::new();
        for _ in 0..60 {
            rest = rest.times(ten);
            digits.push(char::from(b'0' + (rest.0[3] >> 48) as u8));
            rest.0[3] &= (1 << 48) - 1;
        }
        assert_eq!(
            digits,
            "367879441171442321595523770161460867445811131031767834507836"
        );
    }
}
