//! The simulated Google Speech with Google's own clients: each of its rules is broken once. Numbers of rules in names
//! (`rule_6_…`) are those of the list that the simulator was built from.

mod answering;
mod asking;
mod failing;
mod hearing;
mod kit;
mod speaking;
