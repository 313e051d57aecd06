use cloister_privacy::accounting::*;
use cloister_privacy::{Event,Neighbouring};
fn main(){
 let ev=|s:f64,q:f64,t:u64| Event::Repeated{event:Box::new(Event::PoissonGaussian{noise_multiplier:s,sampling_rate:q}),count:t};
 for (s,q,t,d,e) in [(1.0,0.01,1u64,1e-5,0.199450473),(1.0,0.01,100,1e-5,0.718036709),(1.0,0.01,1000,1e-5,1.828243646),(1.0,0.01,10000,1e-5,6.187744976),(0.6,0.01,1000,1e-5,7.433616100),(0.8,0.005,5000,1e-6,3.662372401),(1.1,256.0/60000.0,14040,1e-5,2.379643520),(4.0,0.1,500,1e-7,2.928153548),(0.7,0.001,20000,1e-6,2.021226395),(10.0,0.3,3000,1e-6,8.735064411),(0.5,0.001,100,1e-5,2.108645570)] {
  let n=Neighbouring::AddRemove;
  let q1=Question{step:Some(1e-4),accountant:Some(Accountant::Pld),..Question::new(n,d)};
  let t0=std::time::Instant::now();
  let a=epsilon(&ev(s,q,t),&q1).unwrap();
  let t1=t0.elapsed();
  let t0=std::time::Instant::now();
  let b=epsilon(&ev(s,q,t),&Question::new(n,d)).unwrap();
  let t2=t0.elapsed();
  println!("{s} {q} {t} {d} ref {e} got {} rel {:.2e} {t1:?} | {} (err {:?}, h {:?}, n {:?}, {:?} {:?} slack {:e}) {t2:?} rdp {:?}",a.epsilon,a.epsilon/e-1.0,b.epsilon,b.certified_error,b.step,b.points,b.accountant,b.side,b.slack,b.epsilon_rdp);
 }
}
