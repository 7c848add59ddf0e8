package models

// The lead is writing this file (since 00:49): leave it and go on with the next thing.
