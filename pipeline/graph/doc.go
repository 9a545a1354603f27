// Package graph turns a graph file into a plan: TOML to checked stages
// ([Load], [Parse]), checked stages to the GStreamer elements and links that
// will run, with everything that had to be put in between ([NewPlan]).
//
// All of it is data. The package knows the installed GStreamer elements only
// through a [pipeline.Catalog] and mpipe's elements only through the registry.
// Nothing here starts anything, opens a file other than the graph file, or
// imports GStreamer; what runs a plan is pipeline/run.
//
// Every error a user can cause is a [pipeline.Error] of class Config with the
// place in the file, what was wrong, and what to do. All errors of a file are
// reported in one go, in the order of the file.
package graph
