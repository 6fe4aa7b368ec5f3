// Package models is the standard library of policies: rings, labels, roles and
// ownership, each a documented file of Cedar that a system turns on by name
// with `use`.
//
// A file reads like a page of a textbook: what the model says, where it comes
// from, what it does not do, and its policies. A policy with slots (?name) is a
// template, as Cedar calls it; it is linked for what system.yaml says, as once
// for each export that has a bracket. What comes out is type-checked and
// compiled exactly as users' policies are.
//
// Invariants:
//   - pure: text out; no os, net, syscall or unsafe;
//   - models decide by ordinary policies only, and every one has an @id that
//     begins with the name of its model;
//   - nothing that system.yaml says for models is ignored: a key that no model
//     in use reads is an error;
//   - what a model restricts it restricts by forbids, so that it cannot grant
//     anything; the models that grant (roles, ownership) say so on their page.
package models
