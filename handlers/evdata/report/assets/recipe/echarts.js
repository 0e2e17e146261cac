// What the report draws with, and no more: about half of the library.
import { BarChart, LineChart, MapChart } from "echarts/charts";
import { GridComponent, LegendComponent, TooltipComponent } from "echarts/components";
import { init, registerMap, use } from "echarts/core";
import { SVGRenderer } from "echarts/renderers";

use([
  BarChart, LineChart, MapChart,
  GridComponent, LegendComponent, TooltipComponent,
  SVGRenderer,
]);

export { init, registerMap };
