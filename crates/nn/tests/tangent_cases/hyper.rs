//! Hyper-dual numbers (Fike and Alonso 2011): two first derivatives and their mixed second one, carried along without any
//! step length.

use std::ops::{Add, Mul, Sub};

use crate::naive::Number;

/// `v + a e + b h + ab e h` with `e^2 = h^2 = 0`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hyper {
    pub(crate) v: f64,
    pub(crate) a: f64,
    pub(crate) b: f64,
    pub(crate) ab: f64,
}

impl Hyper {
    pub(crate) fn moving(v: f32, a: f64, b: f64) -> Self {
        let v = f64::from(v);
        Hyper { v, a, b, ab: 0.0 }
    }
}

impl Add for Hyper {
    type Output = Self;
    fn add(self, o: Self) -> Self {
        Hyper {
            v: self.v + o.v,
            a: self.a + o.a,
            b: self.b + o.b,
            ab: self.ab + o.ab,
        }
    }
}

impl Sub for Hyper {
    type Output = Self;
    fn sub(self, o: Self) -> Self {
        self + o * Hyper::of(-1.0)
    }
}

impl Mul for Hyper {
    type Output = Self;
    fn mul(self, o: Self) -> Self {
        Hyper {
            v: self.v * o.v,
            a: self.v * o.a + self.a * o.v,
            b: self.v * o.b + self.b * o.v,
            ab: self.v * o.ab + self.a * o.b + self.b * o.a + self.ab * o.v,
        }
    }
}

impl Number for Hyper {
    fn of(v: f64) -> Self {
        Hyper::moving(0.0, 0.0, 0.0).shifted(v)
    }
    fn value(self) -> f64 {
        self.v
    }
    fn apply(self, [f, first, second]: [f64; 3]) -> Self {
        Hyper {
            v: f,
            a: first * self.a,
            b: first * self.b,
            ab: first * self.ab + second * self.a * self.b,
        }
    }
}

impl Hyper {
    fn shifted(self, v: f64) -> Self {
        Hyper {
            v: self.v + v,
            ..self
        }
    }
}
