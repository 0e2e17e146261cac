// The 39 counties of Washington (FIPS 53) from the Census Bureau's cartographic boundaries (2017, public domain), as
// us-atlas redistributes them: simplified, four decimals (10 m), a name each, sorted by name.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { feature } from "topojson-client";
import { presimplify, simplify } from "topojson-simplify";

const path = createRequire(import.meta.url).resolve("us-atlas/counties-10m.json");
const topology = simplify(presimplify(JSON.parse(readFileSync(path))), 1e-5);
const round = (point) => (typeof point[0] === "number" ? point.map((value) => Math.round(value * 1e4) / 1e4) : point.map(round));
const features = feature(topology, topology.objects.counties)
  .features.filter(({ id }) => id.startsWith("53"))
  .map(({ geometry, properties: { name } }) => ({
    type: "Feature",
    properties: { name },
    geometry: { type: geometry.type, coordinates: round(geometry.coordinates) },
  }))
  .sort((a, b) => (a.properties.name < b.properties.name ? -1 : 1));
process.stdout.write(JSON.stringify({ type: "FeatureCollection", features }));
