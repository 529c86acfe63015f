// Runs an exported folder in transformers.js, with local files only:
//   node run.mjs TASK FOLDER PHOTO OUTPUT_FOLDER [DTYPE]
// "background-removal" writes cut-out.png, "image-segmentation" one mask per label, LABEL.png.
import { basename, dirname, join } from "node:path";
import { env, pipeline } from "@huggingface/transformers";

const [task, folder, photo, outputFolder, dtype] = process.argv.slice(2);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder);

const run = await pipeline(task, basename(folder), dtype ? { dtype } : {});
const results = await run(photo);
if (task === "background-removal") {
  await results.save(join(outputFolder, "cut-out.png"));
} else {
  for (const { label, mask } of results) await mask.save(join(outputFolder, `${label}.png`));
}
