//! Carries out the steps of a plan, in their order. Every decision was made by the plan.
