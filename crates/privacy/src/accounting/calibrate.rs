//! From a budget to noise.

use super::query::epsilon;
use super::{Accountant, Certificate, Question, in_range};
use crate::error::PrivacyError;
use crate::event::Event;
use crate::special::{exp, ln};

/// The least and the largest noise multiplier that is tried.
const RANGE: (f64, f64) = (0.05, 1e6);

/// The smallest noise multiplier, rounded up to four digits, whose event keeps within epsilon at the question's delta.
/// `plan` makes the event of a multiplier; more noise must not cost more. The answer has been verified with a tenth of the
/// question's error.
///
/// # Errors
///
/// If epsilon is not a finite number above 0, if an event has no accounting, or if no multiplier from 0.05 to 10^6 fits.
pub fn noise_multiplier(
    epsilon: f64,
    question: &Question,
    plan: &dyn Fn(f64) -> Event,
) -> Result<f64, PrivacyError> {
    in_range(
        epsilon,
        "epsilon",
        "a finite number above 0",
        epsilon > 0.0 && epsilon.is_finite(),
    )?;
    question.check()?;
    let search = Search {
        wanted: epsilon,
        question,
        plan,
    };
    let start = search.by_renyi()?;
    let coarse = search.secant(start, -1.0, question, 2e-3)?;
    let fine = Question {
        error: 0.1 * question.error,
        ..*question
    };
    let near = search.secant(coarse.0, coarse.1, &fine, 1e-3)?;
    search.rounded(near.0, &fine)
}

struct Search<'a> {
    wanted: f64,
    question: &'a Question,
    plan: &'a dyn Fn(f64) -> Event,
}

impl Search<'_> {
    fn ask(&self, multiplier: f64, question: &Question) -> Result<Certificate, PrivacyError> {
        epsilon(&(self.plan)(multiplier), question)
    }

    /// What Rényi divergences find: quick, and more noise than is needed. Brackets grow from 1, never from 0, where losses
    /// are without limit.
    fn by_renyi(&self) -> Result<f64, PrivacyError> {
        let question = Question {
            accountant: Some(Accountant::Rdp),
            ..*self.question
        };
        let fits = |multiplier: f64| -> Result<bool, PrivacyError> {
            Ok(self.ask(multiplier, &question)?.epsilon <= self.wanted)
        };
        let (mut low, mut high) = (1.0, 1.0);
        if fits(1.0)? {
            while low > RANGE.0 && fits(low)? {
                (low, high) = (0.5 * low, low);
            }
            if low <= RANGE.0 {
                return Ok(RANGE.0);
            }
        } else {
            while !fits(high)? {
                (low, high) = (high, 2.0 * high);
                if high > 2.0 * RANGE.1 {
                    return Err(PrivacyError::Unsupported(format!(
                        "no noise multiplier up to {:e} keeps epsilon within {}",
                        RANGE.1, self.wanted
                    )));
                }
            }
        }
        while high > 1.05 * low {
            let middle = (low * high).sqrt();
            if fits(middle)? {
                high = middle;
            } else {
                low = middle;
            }
        }
        Ok(high)
    }

    /// Secants of ln epsilon over ln multiplier, from a start and a slope to one step beyond a relative distance, whose
    /// square is what remains; gives the slope too.
    fn secant(
        &self,
        start: f64,
        mut slope: f64,
        question: &Question,
        near: f64,
    ) -> Result<(f64, f64), PrivacyError> {
        let mut place = ln(start);
        let mut last: Option<(f64, f64)> = None;
        for _ in 0..12 {
            let epsilon = self.ask(exp(place), question)?.epsilon;
            let found = ln((epsilon / self.wanted).clamp(1e-6, 1e6));
            if let Some(last) = last.filter(|last| last.0 != place) {
                slope = ((found - last.1) / (place - last.0)).clamp(-8.0, -0.3);
            }
            last = Some((place, found));
            place -= (found / slope).clamp(-0.5, 0.5);
            if found.abs() < near {
                break;
            }
        }
        Ok((exp(place), slope))
    }

    /// The least number of four digits that fits, from somewhere near it.
    fn rounded(&self, near: f64, question: &Question) -> Result<f64, PrivacyError> {
        let fits = |number: Decimal| -> Result<bool, PrivacyError> {
            Ok(self.ask(number.value(), question)?.epsilon <= self.wanted)
        };
        let mut number = Decimal::above(near.clamp(RANGE.0, RANGE.1));
        if fits(number)? {
            while number.value() > RANGE.0 && fits(number.previous())? {
                number = number.previous();
            }
            return Ok(number.value());
        }
        for _ in 0..1000 {
            number = number.next();
            if fits(number)? {
                return Ok(number.value());
            }
        }
        Err(PrivacyError::Unsupported(format!(
            "no noise multiplier near {near} keeps epsilon within {}",
            self.wanted
        )))
    }
}

/// Four digits, from 1000 to 9999, times a power of ten.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Decimal {
    digits: u32,
    power: i32,
}

impl Decimal {
    /// The least that is not below a number from `RANGE`.
    fn above(number: f64) -> Self {
        let mut power = libm::floor(libm::log10(number)) as i32 - 3;
        // The logarithm may be off by a rounding at powers of ten.
        while Self::scaled(10_000, power) <= number {
            power += 1;
        }
        while Self::scaled(1000, power) > number {
            power -= 1;
        }
        let mut found = Self {
            digits: (libm::floor(number / Self::scaled(1, power)) as u32).clamp(1000, 9999),
            power,
        };
        while found.digits > 1000 && found.previous().value() >= number {
            found = found.previous();
        }
        while found.value() < number {
            found = found.next();
        }
        found
    }

    /// Rounded once: powers of ten up to 10^22 are exact.
    fn scaled(digits: u32, power: i32) -> f64 {
        let ten = 10_f64.powi(power.abs());
        if power < 0 {
            f64::from(digits) / ten
        } else {
            f64::from(digits) * ten
        }
    }

    fn value(self) -> f64 {
        Self::scaled(self.digits, self.power)
    }

    fn next(self) -> Self {
        match self.digits {
            9999 => Self {
                digits: 1000,
                power: self.power + 1,
            },
            digits => Self {
                digits: digits + 1,
                ..self
            },
        }
    }

    fn previous(self) -> Self {
        match self.digits {
            1000 => Self {
                digits: 9999,
                power: self.power - 1,
            },
            digits => Self {
                digits: digits - 1,
                ..self
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_are_rounded_up() {
        for (number, value) in [
            (1.0, 1.0),
            (1.000_1, 1.001),
            (3.813_249, 3.814),
            (9.999_1, 10.0),
            (0.999_95, 1.0),
            (0.05, 0.05),
            (123_456.0, 123_500.0),
        ] {
            assert_eq!(Decimal::above(number).value(), value);
        }
        let number = Decimal::above(9.999);
        assert_eq!(number.next().value(), 10.0);
        assert_eq!(number.next().previous(), number);
    }
}
