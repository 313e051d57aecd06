//! Your own training code in a federation: anything that can turn a flat vector of parameters into a better one.
//!
//! Three clients fit a straight line to points that they do not share, by a hand-written least-squares step. The round
//! is the same state machine that the simulator and a deployment drive.
//!
//! Run it with `cargo run -p cloister-protocol --example own_learner`.

use std::time::Duration;

use cloister_nn::Layout;
use cloister_nn::metrics::{Measures, NumberEvaluation, regression};
use cloister_protocol::message::LayoutDigest;
use cloister_protocol::{
    Client, ClientAction, ClientId, Learner, LearnerError, Purpose, Server, ServerOutput,
    ServerSettings, Streams, TrainPlan, Update,
};
use rand_chacha::ChaCha8Rng;

/// Points (x, y) of one owner.
struct Line {
    layout: Layout,
    points: Vec<(f32, f32)>,
}

impl Line {
    fn new(points: Vec<(f32, f32)>) -> Result<Self, Box<dyn std::error::Error>> {
        let layout = Layout::new([("slope", vec![1]), ("intercept", vec![1])])?;
        Ok(Self { layout, points })
    }

    fn residuals(&self, parameters: &[f32]) -> impl Iterator<Item = (f32, f32)> {
        let (slope, intercept) = (parameters[0], parameters[1]);
        self.points
            .iter()
            .map(move |(x, y)| (*x, slope * x + intercept - y))
    }

    fn loss(&self, parameters: &[f32]) -> f64 {
        let squares: f64 = self
            .residuals(parameters)
            .map(|(_, r)| f64::from(r * r))
            .sum();
        squares / self.points.len() as f64
    }
}

impl Learner for Line {
    fn layout(&self) -> &Layout {
        &self.layout
    }

    fn examples(&self) -> u64 {
        self.points.len() as u64
    }

    fn train(
        &mut self,
        global: &[f32],
        plan: &TrainPlan,
        _: &mut ChaCha8Rng,
    ) -> Result<Update, LearnerError> {
        let mut parameters = global.to_vec();
        for _ in 0..plan.epochs {
            let scale = 2.0 * plan.learning_rate / self.points.len() as f32;
            let step = self
                .residuals(&parameters)
                .fold([0.0, 0.0], |[a, b], (x, r)| [a + r * x, b + r]);
            for (parameter, gradient) in parameters.iter_mut().zip(step) {
                *parameter -= scale * gradient;
            }
        }
        Ok(Update {
            examples: self.examples(),
            loss: Some(self.loss(&parameters)),
            values: parameters
                .iter()
                .zip(global)
                .map(|(new, old)| new - old)
                .collect(),
        })
    }

    fn evaluate(&mut self, global: &[f32]) -> Result<Measures, LearnerError> {
        let answers = self.points.iter().map(|(x, _)| global[0] * x + global[1]);
        let truth: Vec<f32> = self.points.iter().map(|(_, y)| *y).collect();
        Ok(Measures::Number(NumberEvaluation {
            loss: self.loss(global),
            figures: regression(&answers.collect::<Vec<f32>>(), &truth),
        }))
    }
}

#[allow(clippy::print_stdout, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    // y = 3 x + 1, seen by each owner over another range.
    let points = |from: i32| -> Vec<(f32, f32)> {
        let x = |i: i32| i as f32 / 10.0;
        (from..from + 10)
            .map(|i| (x(i), 3.0 * x(i) + 1.0))
            .collect()
    };
    let mut learners = [
        Line::new(points(-10))?,
        Line::new(points(0))?,
        Line::new(points(10))?,
    ];

    let streams = Streams::new(1);
    let layout = LayoutDigest::of(learners[0].layout());
    let mut settings = ServerSettings::default();
    settings.federation.rounds = 50;
    settings.train.epochs = 5;
    settings.train.learning_rate = 0.2;
    let mut server = Server::new(settings, layout, vec![0.0; 2], streams)?;
    let mut clients = Vec::new();
    for (place, learner) in learners.iter().enumerate() {
        server.enroll(ClientId(place as u32), learner.examples())?;
        clients.push(Client::new(layout, 2, learner.examples()));
    }
    while !server.is_finished() {
        server.begin_round(Duration::ZERO)?;
        while let Some(output) = server.poll_output() {
            let ServerOutput::Send { to, message } = output else {
                continue;
            };
            let place = to.0 as usize;
            if let ClientAction::Train(job) = clients[place].receive(message, Duration::ZERO) {
                let mut rng = streams.stream(Purpose::Train, job.round, to.0);
                let result = learners[place].train(&job.global, &job.plan, &mut rng);
                if let Some(reply) = clients[place].trained(job.round, result) {
                    server.receive(to, reply, Duration::ZERO);
                }
            }
        }
    }
    println!(
        "y = {:.3} x + {:.3}",
        server.global()[0],
        server.global()[1]
    );
    Ok(())
}
