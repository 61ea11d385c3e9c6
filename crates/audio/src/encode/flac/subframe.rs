//! One channel of a block: predicted from its own past, and what the prediction misses in Rice
//! codes (RFC 9639, section 9.2).

use super::bits::Bits;

/// Predictors: differences of order 0 to 4. Longer ones would save a few percent at many times
/// the work.
const MAX_ORDER: usize = 4;

/// Residuals are cut into at most 2^6 parts, each with its own Rice parameter.
const MAX_PARTITION_ORDER: u32 = 6;

/// Rice parameters of five bits, of which the last is an escape that is not used here.
const LONG_PARAMETERS: u64 = 1;
const PARAMETER_BITS: u32 = 5;
const MAX_PARAMETER: u32 = 30;

/// How one channel of a block is written with the fewest bits.
pub(super) struct Subframe<'a> {
    samples: &'a [i32],
    bits_per_sample: u32,
    form: Form,
    cost: u64,
}

enum Form {
    Constant,
    Verbatim,
    Fixed { order: usize, residual: Vec<u32>, rice: Rice },
}

impl<'a> Subframe<'a> {
    /// The best form for `samples`, of which each fits into `bits_per_sample` bits.
    pub(super) fn new(samples: &'a [i32], bits_per_sample: u32) -> Self {
        if samples.iter().all(|sample| *sample == samples[0]) {
            let cost = u64::from(bits_per_sample);
            return Self { samples, bits_per_sample, form: Form::Constant, cost };
        }
        let verbatim = samples.len() as u64 * u64::from(bits_per_sample);
        let (order, residual) = predict(samples);
        let rice = Rice::new(&residual, samples.len(), order);
        let cost = order as u64 * u64::from(bits_per_sample) + rice.cost;
        if cost < verbatim {
            let form = Form::Fixed { order, residual, rice };
            return Self { samples, bits_per_sample, form, cost };
        }
        Self { samples, bits_per_sample, form: Form::Verbatim, cost: verbatim }
    }

    /// The length of its block.
    pub(super) fn frames(&self) -> usize {
        self.samples.len()
    }

    /// Its length in bits, but for what every subframe has.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn write(&self, bits: &mut Bits) {
        let (kind, verbatim) = match &self.form {
            Form::Constant => (0, 1),
            Form::Verbatim => (1, self.samples.len()),
            Form::Fixed { order, .. } => (8 + *order as u64, *order),
        };
        bits.put(kind << 1, 8);
        for sample in &self.samples[..verbatim] {
            bits.put_signed(*sample, self.bits_per_sample);
        }
        if let Form::Fixed { order, residual, rice } = &self.form {
            rice.write(residual, self.samples.len(), *order, bits);
        }
    }
}

/// The order whose residual is smallest, and that residual with its signs folded in: 0, -1, 1,
/// -2 … become 0, 1, 2, 3 …
fn predict(samples: &[i32]) -> (usize, Vec<u32>) {
    let mut differences = samples.to_vec();
    let mut best = (0, differences.clone());
    let mut least = u64::MAX;
    for order in 0..=MAX_ORDER.min(samples.len() - 1) {
        if order > 0 {
            for at in (1..differences.len()).rev() {
                differences[at] -= differences[at - 1];
            }
            differences.remove(0);
        }
        let size = differences.iter().map(|difference| u64::from(difference.unsigned_abs())).sum();
        if size < least {
            (least, best) = (size, (order, differences.clone()));
        }
    }
    let (order, residual) = best;
    (order, residual.into_iter().map(|r| (r << 1 ^ r >> 31) as u32).collect())
}

/// How a residual is cut into parts, and the parameter of each.
struct Rice {
    partition_order: u32,
    parameters: Vec<u32>,
    cost: u64,
}

impl Rice {
    /// The best cut for the `residual` of a block of `block` frames predicted with `order`.
    fn new(residual: &[u32], block: usize, order: usize) -> Self {
        let mut best = Self::cut(residual, block, order, 0);
        for partition_order in 1..=MAX_PARTITION_ORDER {
            let parts = 1 << partition_order;
            if !block.is_multiple_of(parts) || block / parts <= order {
                break;
            }
            let cut = Self::cut(residual, block, order, partition_order);
            if cut.cost < best.cost {
                best = cut;
            }
        }
        best
    }

    fn cut(residual: &[u32], block: usize, order: usize, partition_order: u32) -> Self {
        let mut cost = 6; // the method and the partition order
        let mut parameters = Vec::new();
        for part in partitions(residual, block, order, partition_order) {
            let (parameter, bits) = parameter(part);
            parameters.push(parameter);
            cost += u64::from(PARAMETER_BITS) + bits;
        }
        Self { partition_order, parameters, cost }
    }

    fn write(&self, residual: &[u32], block: usize, order: usize, bits: &mut Bits) {
        bits.put(LONG_PARAMETERS, 2);
        bits.put(u64::from(self.partition_order), 4);
        let parts = partitions(residual, block, order, self.partition_order);
        for (part, parameter) in parts.zip(&self.parameters) {
            bits.put(u64::from(*parameter), PARAMETER_BITS);
            for value in part {
                bits.put_unary(value >> parameter);
                bits.put(u64::from(*value), *parameter);
            }
        }
    }
}

/// The parts of a residual: equally long, but that the first lacks the frames before the first
/// prediction.
fn partitions(
    residual: &[u32],
    block: usize,
    order: usize,
    partition_order: u32,
) -> impl Iterator<Item = &[u32]> {
    let length = block >> partition_order;
    let (first, rest) = residual.split_at(length - order);
    std::iter::once(first).chain(rest.chunks(length))
}

/// The Rice parameter that takes the fewest bits for `part`, and those bits.
fn parameter(part: &[u32]) -> (u32, u64) {
    let sum: u64 = part.iter().copied().map(u64::from).sum();
    let mean = sum / part.len().max(1) as u64;
    // The optimum lies within one of the mean's logarithm.
    let guess = mean.checked_ilog2().unwrap_or(0).min(MAX_PARAMETER);
    let cost = |parameter: u32| {
        let quotients: u64 = part.iter().map(|value| u64::from(value >> parameter)).sum();
        quotients + part.len() as u64 * u64::from(parameter + 1)
    };
    let near = guess.saturating_sub(1)..=(guess + 1).min(MAX_PARAMETER);
    near.map(|parameter| (parameter, cost(parameter)))
        .min_by_key(|(_, cost)| *cost)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polynomials_are_predicted_to_the_end() {
        let ramp: Vec<i32> = (0..64).map(|n| 1000 * n - 5).collect();
        let (order, residual) = predict(&ramp);
        assert_eq!((order, residual.len()), (2, 62));
        assert!(residual.iter().all(|value| *value == 0));
    }

    #[test]
    fn no_block_costs_more_than_its_samples() {
        let loud: Vec<i32> =
            (0..4096).map(|n| if n % 2 == 0 { 1 << 24 } else { -(1 << 24) }).collect();
        for samples in [&loud[..], &loud[..1], &loud[..5]] {
            let subframe = Subframe::new(samples, 25);
            assert!(subframe.cost() <= 25 * samples.len() as u64);
        }
    }

    #[test]
    fn the_cost_is_what_is_written() {
        let mut state = 1_u32;
        let mut noise = |bits: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state as i32 >> (32 - bits)
        };
        for bits_per_sample in [4, 14, 25] {
            for length in [1, 2, 5, 64, 96, 1000] {
                let samples: Vec<i32> = (0..length).map(|_| noise(bits_per_sample) / 3).collect();
                let subframe = Subframe::new(&samples, bits_per_sample);
                let mut bits = Bits::default();
                subframe.write(&mut bits);
                let bytes = (subframe.cost() + 8).div_ceil(8);
                assert_eq!(bits.into_bytes().len() as u64, bytes, "{length}");
            }
        }
    }
}
