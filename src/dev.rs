//! What is for development and tests only. The daemon never uses it: nothing but the command
//! `hookwell dev` names this module, and a test sees to that.

pub mod ghl;
